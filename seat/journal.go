package seat

import (
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// journal is what happened to the seat, for whoever asks, however late.
type journal struct {
	mu     sync.Mutex
	events []wire.StreamHostEvent
	news   chan struct{} // closed at the next event
	closed bool
}

func newJournal() *journal { return &journal{news: make(chan struct{})} }

func (j *journal) add(message string, annotations map[string]string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	for k, v := range annotations {
		if v == "" {
			delete(annotations, k)
		}
	}
	j.events = append(j.events, wire.StreamHostEvent{
		Seq: len(j.events) + 1, Time: time.Now().UTC(), Message: message, Annotations: annotations,
	})
	close(j.news)
	j.news = make(chan struct{})
}

// state writes a change of state down, in words.
func (j *journal) state(from wire.SeatState, now wire.Seat) {
	words := map[wire.SeatState]string{
		wire.SeatClaimed:   "granted to a session",
		wire.SeatStreaming: "a browser is connected",
		wire.SeatDetached:  "the browser was lost",
		wire.SeatIdle:      "ready",
		wire.SeatEnding:    "ending",
	}[now.State]
	if now.State == wire.SeatIdle && from == wire.SeatClaimed {
		words = "ready again: the browser did not connect"
	}
	if words != "" {
		j.add(words, map[string]string{"state": string(now.State), "session": now.Session})
	}
}

// after gives the events after seq, and a channel that is closed when there are
// more; over means that there will be none.
func (j *journal) after(seq int) (events []wire.StreamHostEvent, news <-chan struct{}, over bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seq = min(max(seq, 0), len(j.events))
	return j.events[seq:len(j.events):len(j.events)], j.news, j.closed
}

// close says that nothing more happens.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closed {
		j.closed = true
		close(j.news)
	}
}
