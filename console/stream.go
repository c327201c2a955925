package console

import (
	"net/http"
	"time"

	"github.com/nearcast/nearcast/console/login"
	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// keepAlive is how often a stream says something.
	keepAlive = 15 * time.Second
	// writeWait bounds how long an event may take to be written.
	writeWait = 10 * time.Second
	// firstFacts is how long a stream waits for facts, where nobody looked before.
	firstFacts = 3 * time.Second
)

// getEvents serves the stream.
func (c *Console) getEvents(rw http.ResponseWriter, r *http.Request, s *login.Session) {
	done, ok := c.cfg.Sessions.Stream(s)
	if !ok {
		answer.Write(rw, problem(wire.ProblemTooMany, http.StatusTooManyRequests, "Too many windows", "You have the console open in too many windows. Close one."))
		return
	}
	defer done()
	c.look(r.Context(), firstFacts)
	sub, first, ok := c.hub.subscribe(r.Header.Get("Last-Event-ID"), time.Now())
	if !ok {
		answer.Write(rw, problem(wire.ProblemUnavailable, http.StatusServiceUnavailable, "Too many people look", "The console has too many streams open. Try again in a moment."))
		return
	}
	defer func() { c.hub.unsubscribe(sub, time.Now()) }()

	h := rw.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies
	control := http.NewResponseController(rw)
	write := func(text []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(writeWait)) != nil {
			return false
		}
		if _, err := rw.Write(text); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	// A browser that lost the stream comes again after a second.
	if !write([]byte("retry: 1000\n\n")) {
		return
	}
	for text := range first {
		if !write(text) {
			return
		}
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.Done():
			return
		case one, ok := <-sub.events:
			if !ok || !write(one.text) {
				return
			}
		case <-tick.C:
			if !write([]byte(": alive\n\n")) {
				return
			}
		}
	}
}
