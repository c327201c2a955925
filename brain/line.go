package brain

import (
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

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
	case b.kick <- struct{}{}:
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
	q.offer(b.view.freeSeats(app, now), b.view.lives)
	t := b.view.tally(app, b.mine(id), now)
	place := 0
	for _, w := range q {
		if !w.waits() {
			continue // her seat is being claimed, or she is on her way out
		}
		place++
		b.news(w, app, t, place, now)
	}
}

// news tells a person who waits in place (1 is next) where she stands.
func (b *Broker) news(w *waiter, app App, t tally, place int, now time.Time) {
	var m wire.Message
	cold := b.view.cold[w.app].median()
	switch {
	case place <= len(t.coming):
		p := t.coming[place-1].progress
		m = wire.Message{Type: wire.MsgStarting, Progress: &p}
	case b.mayStart(app, t, now):
		m = wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}}
	default:
		position := place - len(t.coming)
		left := estimate(position, t.busy, b.view.length[w.app].median())
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
	if f != nil && (f.running(app.Version, now) || f.failing(app.Version) && t.allComing > 0) {
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
		old.end(verdict{code: wire.CloseReplaced})
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
	if l := b.view.lives[w.seat]; l != nil && w.seat != "" {
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
	if l := b.view.lives[seat.ID]; l != nil {
		if reached {
			l.unwanted, l.unwantedAt = seat.Since, b.now()
		} else {
			l.unreachable = b.now()
		}
	}
	b.release(w)
	b.changed()
}

// granted notes that w has the seat.
func (b *Broker) granted(w *waiter, seat wire.Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.view.lives[seat.ID]; l != nil {
		l.unwanted, l.unwantedAt = seat.Since, b.now() // until Consul shows it busy
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
