package seat

import (
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// eventLog keeps all events of the seat, so that the driver gets every one of
// them, however late it asks. Nomad shows them as task events.
type eventLog struct {
	mu     sync.Mutex
	events []wire.StreamHostEvent
	more   chan struct{} // closed at the next event
	closed bool
}

func newEventLog() *eventLog { return &eventLog{more: make(chan struct{})} }

func (l *eventLog) add(message string, annotations map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for k, v := range annotations {
		if v == "" {
			delete(annotations, k)
		}
	}
	l.events = append(l.events, wire.StreamHostEvent{
		Seq: len(l.events) + 1, Time: time.Now().UTC(), Message: message, Annotations: annotations,
	})
	close(l.more)
	l.more = make(chan struct{})
}

// addState adds a change of the seat's state.
func (l *eventLog) addState(from wire.SeatState, now wire.Seat) {
	message := map[wire.SeatState]string{
		wire.SeatClaimed:   "seat claimed by a session",
		wire.SeatStreaming: "browser connected",
		wire.SeatDetached:  "browser lost; waiting for it to return",
		wire.SeatIdle:      "ready",
		wire.SeatEnding:    "ending",
	}[now.State]
	if now.State == wire.SeatIdle && from == wire.SeatClaimed {
		message = "ready again: the browser did not connect in time"
	}
	if message != "" {
		l.add(message, map[string]string{"state": string(now.State), "session": now.Session})
	}
}

// after returns the events after seq, and a channel that is closed when there
// are more. closed means that there will be no more.
func (l *eventLog) after(seq int) (events []wire.StreamHostEvent, more <-chan struct{}, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq = min(max(seq, 0), len(l.events))
	return l.events[seq:len(l.events):len(l.events)], l.more, l.closed
}

// close ends the log: add has no effect after it.
func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.more)
	}
}
