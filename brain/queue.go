package brain

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// waiter is one person in a queue. state.mu guards its fields.
type waiter struct {
	session string
	app     string
	since   time.Time

	claims ticket.Claims
	token  string // the ticket in force
	used   bool   // the ticket is marked as used: once a session
	mark   string // of this waiting, so that a mark whose answer was lost is known again

	attempts int // seats dispatched for this person so far

	seat string // the seat that is offered now
	// The person's goroutine reads these. Each holds one item; a new update
	// replaces the one before.
	offers  chan wire.Seat
	updates chan wire.Message
	outcome chan outcome

	lastUpdate string // so that only changes are sent
	ended      bool   // outcome is sent; the person has only to leave the queue
}

// outcome is how serving a person ends: the last message and the close code.
type outcome struct {
	message wire.Message
	code    int // of the WebSocket's close
}

func newWaiter(claims ticket.Claims, token string, now time.Time) *waiter {
	return &waiter{
		session: claims.Session, app: claims.App, since: now, claims: claims, token: token, mark: uuid.NewString(),
		offers: make(chan wire.Seat, 1), updates: make(chan wire.Message, 1), outcome: make(chan outcome, 1),
	}
}

// end ends the waiting. Only the first outcome counts.
func (w *waiter) end(o outcome) {
	if w.ended {
		return
	}
	w.ended = true
	w.outcome <- o
}

// takes reports whether a seat of that version is what the person asked for.
func (w *waiter) takes(version uint64) bool {
	return w.claims.Version == 0 || w.claims.Version == version
}

// waits reports whether the person needs a seat and is offered none.
func (w *waiter) waits() bool { return w.seat == "" && !w.ended }

// update sends the person an update unless it says what the last one said.
func (w *waiter) update(m wire.Message) {
	key := string(m.Type)
	if m.Queue != nil {
		key += fmt.Sprint(*m.Queue)
	} else {
		key += fmt.Sprint(*m.Progress)
	}
	if key == w.lastUpdate {
		return
	}
	w.lastUpdate = key
	select {
	case <-w.updates:
	default:
	}
	w.updates <- m
}

// queue is the people that wait for an app at this replica, in order.
type queue []*waiter

// lapsed reports whether the person's ticket has run out and was not renewed. They
// keep their place until nobody takes the ticket any more, but are no demand: a
// page that is alive renews in time.
func (w *waiter) lapsed(now time.Time) bool {
	return !w.claims.Expires.IsZero() && now.After(w.claims.Expires)
}

// people counts those whose waiting has not ended, and who have a ticket.
func (q queue) people(now time.Time) (n int) {
	for _, w := range q {
		if !w.ended && !w.lapsed(now) {
			n++
		}
	}
	return n
}

func (q queue) without(w *waiter) queue {
	return slices.DeleteFunc(q, func(o *waiter) bool { return o == w })
}

// offer gives free seats to the people that wait and have no offer, in order.
// Each gets the first seat of the version that they asked for.
func (q queue) offer(free []wire.Seat, reserve func(seat string)) {
	for _, w := range q {
		if !w.waits() {
			continue
		}
		i := slices.IndexFunc(free, func(s wire.Seat) bool { return w.takes(seatVersion(s)) })
		if i < 0 {
			continue
		}
		w.seat = free[i].ID
		reserve(w.seat)
		w.offers <- free[i]
		free = slices.Delete(free, i, i+1)
	}
}

// estimate is how many milliseconds the person at a place (1 is next) will wait
// for a busy seat, or -1 if that is not known.
func estimate(place, busy int, length time.Duration) int64 {
	if place < 1 || busy < 1 || length <= 0 {
		return -1
	}
	// Sessions end one after another, spread evenly over the length of a session.
	return (time.Duration(place) * length / time.Duration(busy)).Milliseconds()
}

// serve offers an app's free seats to its queue and sends each person their
// place. mu is held.
func (st *state) serve(id string, q queue, now time.Time) {
	if len(q) == 0 {
		return
	}
	app, ok := st.view.app(id)
	if !ok && st.view.jobsKnown {
		for _, w := range q {
			w.end(refused(unknownApp(id)))
		}
		return
	}
	for _, w := range q {
		if w.lapsed(now.Add(-ticket.Leeway)) {
			w.end(refused(lapsed()))
		}
	}
	st.endNoVersion(app, q, now)
	if !st.paused {
		q.offer(st.view.freeSeats(app, now), st.view.reserve)
	}
	t := st.view.tally(app, st.ownTokens(id), now)
	place := 0
	for _, w := range q {
		if !w.waits() {
			continue
		}
		place++
		if st.paused {
			w.update(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: place, EstimateMS: -1, Paused: true}})
			continue
		}
		w.update(st.placeOf(app, t, place, now))
	}
}

// placeOf is the update for the person at a place (1 is next). mu is held.
func (st *state) placeOf(app App, t tally, place int, now time.Time) wire.Message {
	if place <= len(t.startingSeats) {
		p := t.startingSeats[place-1].progress
		return wire.Message{Type: wire.MsgStarting, Progress: &p}
	}
	if st.mayStart(app, t, now) {
		return wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}}
	}
	position := place - len(t.startingSeats)
	left := estimate(position, t.busy, st.view.sessionLength(app.ID))
	if cold := st.view.coldStart(app.ID); left < 0 && t.ending > 0 && cold > 0 {
		left = cold.Milliseconds() // a new seat can start in a moment
	}
	return wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: position, EstimateMS: left}}
}

// mayStart reports whether the planner can dispatch for people now. mu is held.
func (st *state) mayStart(app App, t tally, now time.Time) bool {
	f := st.view.failureOf(app.ID)
	if f != nil && (f.running(app.Version, now) || f.failing(app.Version) && t.allStarting > 0) {
		return false
	}
	return t.counts.blocked == 0 && t.total() < app.Max
}

// ownTokens recognises the dispatches for this replica's people: those that wait
// for an app, and those that have left, whose seats go to the next people. mu is
// held, also while the result is used.
func (st *state) ownTokens(app string) func(token string) bool {
	sessions := make(map[string]bool, len(st.queues[app]))
	for _, w := range st.queues[app] {
		sessions[w.session] = true
	}
	return func(token string) bool { return st.view.isOwn(token) || sessions[sessionOf(token)] }
}

// queueCounts is how many people wait here, by app.
func (st *state) queueCounts() map[string]int {
	st.mu.Lock()
	defer st.mu.Unlock()
	counts := make(map[string]int, len(st.queues))
	for app, q := range st.queues {
		counts[app] = q.people(st.now())
	}
	return counts
}

// enqueue puts a person at the end of their app's queue, unless they have too many
// sessions. It replaces a waiter of the same session.
func (st *state) enqueue(w *waiter) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if over := st.overCap(w.claims, st.now()); over != nil {
		w.end(refused(*over))
		return
	}
	if old := st.waiters[w.session]; old != nil {
		old.end(outcome{code: wire.CloseReplaced})
		w.attempts, w.used, w.mark, w.since = old.attempts, old.used, old.mark, old.since
		st.drop(old)
	}
	st.waiters[w.session] = w
	st.queues[w.app] = append(st.queues[w.app], w)
	st.metrics.waiting(w.app, len(st.queues[w.app]))
	st.serve(w.app, st.queues[w.app], st.now())
	st.wake()
}

// leave takes a person out of the queue.
func (st *state) leave(w *waiter) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.drop(w)
	st.changed()
}

// endWaiting ends a person's waiting with an outcome.
func (st *state) endWaiting(w *waiter, o outcome) {
	st.mu.Lock()
	defer st.mu.Unlock()
	w.end(o)
}

// drop removes a waiter and its offer. mu is held.
func (st *state) drop(w *waiter) {
	if st.waiters[w.session] == w {
		delete(st.waiters, w.session)
	}
	st.release(w)
	q := st.queues[w.app].without(w)
	if st.queues[w.app] = q; len(q) == 0 {
		delete(st.queues, w.app)
	}
	st.metrics.waiting(w.app, len(q))
}

// release ends an offer. mu is held.
func (st *state) release(w *waiter) {
	st.view.unreserve(w.seat)
	w.seat = ""
	select {
	case <-w.offers:
	default:
	}
}

// whyDeclined is why a person cannot have a seat that was offered.
type whyDeclined int

const (
	seatTaken       whyDeclined = iota // somebody else has it
	seatUnreachable                    // it does not answer
	seatSick                           // it refuses good tickets
)

// declined notes that w cannot have the offered seat, and offers the next one.
func (st *state) declined(w *waiter, seat wire.Seat, why whyDeclined) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch why {
	case seatTaken:
		st.view.noteTaken(seat, st.now())
	case seatUnreachable:
		st.view.noteUnreachable(seat, st.now())
	case seatSick:
		st.view.noteSick(seat, st.now())
	}
	st.release(w)
	st.changed()
}

// granted notes that w has the seat.
func (st *state) granted(w *waiter, seat wire.Seat) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.view.noteTaken(seat, st.now())
	st.view.noteHolder(seat, w.claims)
	st.view.proven(seat)
	st.drop(w)
	st.changed()
}

// markUsed returns the ticket in force, and whether the caller has to mark it as
// used in Consul.
func (st *state) markUsed(w *waiter) (first bool, token string, claims ticket.Claims) {
	st.mu.Lock()
	defer st.mu.Unlock()
	first, w.used = !w.used, true
	return first, w.token, w.claims
}

// unmarked notes that Consul did not say whether w's ticket is marked. Nobody is
// offered a seat before Consul answers again; see watchConsul.
func (st *state) unmarked(w *waiter) {
	st.mu.Lock()
	defer st.mu.Unlock()
	w.used = false
	st.paused = true
	st.release(w)
	st.changed()
}

// setPaused says whether seats can be given now.
func (st *state) setPaused(paused bool) (changed bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.paused == paused {
		return false
	}
	st.paused = paused
	st.changed()
	return true
}

// renew replaces a waiting person's ticket.
func (st *state) renew(w *waiter, claims ticket.Claims, token string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	w.claims, w.token = claims, token
	st.wake()
}
