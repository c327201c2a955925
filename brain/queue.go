package brain

import (
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// waiter is one person's place in line. Its fields are guarded by Broker.mu.
type waiter struct {
	session string
	app     string
	since   time.Time

	claims ticket.Claims
	token  string // the ticket in force
	used   bool   // it is marked as used: that happens once a session

	attempts int // seats dispatched for her so far

	seat string // offered now
	// offers, news and verdict are this person's mail. Each holds one letter:
	// the newest counts.
	offers  chan wire.Seat
	news    chan wire.Message
	verdict chan verdict
	told    string // the last news, to tell only changes
	ended   bool   // a verdict is in her mail: she only has to read it and go
}

// verdict ends a person's waiting.
type verdict struct {
	message wire.Message
	code    int // of the WebSocket's close
}

func newWaiter(claims ticket.Claims, token string, now time.Time) *waiter {
	return &waiter{
		session: claims.Session, app: claims.App, since: now, claims: claims, token: token,
		offers: make(chan wire.Seat, 1), news: make(chan wire.Message, 1), verdict: make(chan verdict, 1),
	}
}

func (w *waiter) end(v verdict) {
	if w.ended {
		return // one verdict is enough
	}
	w.ended = true
	w.verdict <- v
}

// takes reports whether a seat of that version is what w asked for.
func (w *waiter) takes(version uint64) bool {
	return w.claims.Version == 0 || w.claims.Version == version
}

// waits reports whether w wants a seat and is offered none.
func (w *waiter) waits() bool { return w.seat == "" && !w.ended }

// tell puts news into the person's mail, in place of older news.
func (w *waiter) tell(m wire.Message) {
	select {
	case <-w.news:
	default:
	}
	w.news <- m
}

// queue is the people who wait for an app at this replica, in order.
type queue []*waiter

// people counts those who have not been told to go.
func (q queue) people() (n int) {
	for _, w := range q {
		if !w.ended {
			n++
		}
	}
	return n
}

func (q queue) without(w *waiter) queue {
	return slices.DeleteFunc(q, func(o *waiter) bool { return o == w })
}

// offer gives free seats to those who wait and have no offer, in order: to each
// the first that is of the version she asked for.
func (q queue) offer(free []wire.Seat, lives map[string]*life) {
	for _, w := range q {
		if !w.waits() {
			continue
		}
		i := slices.IndexFunc(free, func(s wire.Seat) bool { return w.takes(seatVersion(s)) })
		if i < 0 {
			continue
		}
		w.seat = free[i].ID
		lives[w.seat].reserved = true
		w.offers <- free[i]
		free = slices.Delete(free, i, i+1)
	}
}

// estimate is how long the person at a place (1 is next) will wait for one of
// the busy seats, or -1.
func estimate(place, busy int, length time.Duration) int64 {
	if place < 1 || busy < 1 || length <= 0 {
		return -1
	}
	// Sessions end one after the other, evenly spread over a session's length.
	return (time.Duration(place) * length / time.Duration(busy)).Milliseconds()
}
