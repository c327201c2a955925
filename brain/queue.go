package brain

import (
	"fmt"
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
	updates chan wire.Message
	outcome chan outcome
	told    string // the last news, to tell only changes
	ended   bool   // a verdict is in her mail: she only has to read it and go
}

// verdict ends a person's waiting.
type outcome struct {
	message wire.Message
	code    int // of the WebSocket's close
}

func newWaiter(claims ticket.Claims, token string, now time.Time) *waiter {
	return &waiter{
		session: claims.Session, app: claims.App, since: now, claims: claims, token: token,
		offers: make(chan wire.Seat, 1), updates: make(chan wire.Message, 1), outcome: make(chan outcome, 1),
	}
}

func (w *waiter) end(v outcome) {
	if w.ended {
		return // one verdict is enough
	}
	w.ended = true
	w.outcome <- v
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
	case <-w.updates:
	default:
	}
	w.updates <- m
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
func (q queue) offer(free []wire.Seat, seatTracks map[string]*seatTrack) {
	for _, w := range q {
		if !w.waits() {
			continue
		}
		i := slices.IndexFunc(free, func(s wire.Seat) bool { return w.takes(seatVersion(s)) })
		if i < 0 {
			continue
		}
		w.seat = free[i].ID
		seatTracks[w.seat].reserved = true
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

// changed follows from any change of what is known or who waits: seats are
// offered, news told, the planner woken. b.mu is held.
func (b *Broker) changed() {
	now := b.now()
	for app, q := range b.queues {
		b.serve(app, q, now)
	}
	b.wake()
}

func (b *Broker) wake() {
	select {
	case b.wakeup <- struct{}{}:
	default:
	}
}

// serve offers an app's free seats to its queue and tells each person where she
// stands. b.mu is held.
func (b *Broker) serve(id string, q queue, now time.Time) {
	if len(q) == 0 {
		return
	}
	app, ok := b.view.jobs.Apps[id]
	if !ok && b.view.jobsKnown {
		for _, w := range q {
			w.end(refused(unknownApp(id)))
		}
		return
	}
	b.tellVersion(app, q, now)
	q.offer(b.view.freeSeats(app, now), b.view.seatTracks)
	t := b.view.tally(app, b.mine(id), now)
	place := 0
	for _, w := range q {
		if !w.waits() {
			continue // her seat is being claimed, or she is on her way out
		}
		place++
		b.update(w, app, t, place, now)
	}
}

// news tells a person who waits in place (1 is next) where she stands.
func (b *Broker) update(w *waiter, app App, t tally, place int, now time.Time) {
	var m wire.Message
	cold := b.view.coldStarts[w.app].median()
	switch {
	case place <= len(t.startingSeats):
		p := t.startingSeats[place-1].progress
		m = wire.Message{Type: wire.MsgStarting, Progress: &p}
	case b.mayStart(app, t, now):
		m = wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}}
	default:
		position := place - len(t.startingSeats)
		left := estimate(position, t.busy, b.view.sessionLengths[w.app].median())
		if left < 0 && t.ending > 0 && cold > 0 {
			left = cold.Milliseconds() // a place is about to be free for a new seat
		}
		m = wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: position, EstimateMS: left}}
	}
	key := string(m.Type)
	if m.Queue != nil {
		key += fmt.Sprint(*m.Queue)
	} else {
		key += fmt.Sprint(*m.Progress)
	}
	if key != w.told {
		w.told = key
		w.tell(m)
	}
}

// mayStart reports whether the planner can dispatch for people now.
func (b *Broker) mayStart(app App, t tally, now time.Time) bool {
	f := b.view.failures[app.ID]
	if f != nil && (f.running(app.Version, now) || f.failing(app.Version) && t.allStarting > 0) {
		return false
	}
	return t.counts.blocked == 0 && t.total() < app.Max
}

// mine tells the tokens of dispatches for this replica's people: those who wait
// for an app, and those who have left and whose seats are for who comes next.
func (b *Broker) mine(app string) func(string) bool {
	sessions := make(map[string]bool, len(b.queues[app]))
	for _, w := range b.queues[app] {
		sessions[w.session] = true
	}
	return func(token string) bool {
		_, sent := b.view.sent[token]
		return sent || sessions[sessionOf(token)]
	}
}

// enqueue puts a person at the end of her app's line. Who was in line with the
// same session gives way.
func (b *Broker) enqueue(w *waiter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errClosing
	}
	if old := b.waiters[w.session]; old != nil {
		old.end(outcome{code: wire.CloseReplaced})
		w.attempts, w.used, w.since = old.attempts, old.used, old.since
		b.drop(old)
	}
	b.waiters[w.session] = w
	b.queues[w.app] = append(b.queues[w.app], w)
	b.metrics.waiting(w.app, len(b.queues[w.app]))
	b.serve(w.app, b.queues[w.app], b.now())
	b.wake()
	return nil
}

// leave takes a person out of line.
func (b *Broker) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(w)
	b.changed()
}

func (b *Broker) drop(w *waiter) {
	if b.waiters[w.session] == w {
		delete(b.waiters, w.session)
	}
	b.release(w)
	q := b.queues[w.app].without(w)
	if b.queues[w.app] = q; len(q) == 0 {
		delete(b.queues, w.app)
	}
	b.metrics.waiting(w.app, len(q))
}

// release ends an offer.
func (b *Broker) release(w *waiter) {
	if l := b.view.seatTracks[w.seat]; l != nil && w.seat != "" {
		l.reserved = false
	}
	w.seat = ""
	select {
	case <-w.offers:
	default:
	}
}

// declined notes that the seat offered to w cannot be had, and offers the next.
func (b *Broker) declined(w *waiter, seat wire.Seat, reached bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.view.seatTracks[seat.ID]; l != nil {
		if reached {
			l.declined, l.declinedAt = seat.Since, b.now()
		} else {
			l.unreachableAt = b.now()
		}
	}
	b.release(w)
	b.changed()
}

// granted notes that w has the seat.
func (b *Broker) granted(w *waiter, seat wire.Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.view.seatTracks[seat.ID]; l != nil {
		l.declined, l.declinedAt = seat.Since, b.now() // until Consul shows it busy
	}
	b.view.proven(seat)
	b.drop(w)
	b.changed()
}

// markUsed reports whether w's ticket is still to be marked as used, and gives
// the ticket in force.
func (b *Broker) markUsed(w *waiter) (first bool, token string, claims ticket.Claims) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first, w.used = !w.used, true
	return first, w.token, w.claims
}

// renew takes a waiting person's new ticket.
func (b *Broker) renew(w *waiter, claims ticket.Claims, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.claims, w.token = claims, token
}
