package brain

import (
	"maps"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// waiter is one person in a queue. state.mu guards its fields.
type waiter struct {
	session string
	app     string
	since   time.Time

	claims ticket.Claims
	token  string // the ticket in force
	use    ticketUse

	attempts int // seats dispatched for this person so far

	place   *place
	holder  holder    // for whom the session counts
	rested  bool      // before they pressed Play
	told    bool      // the other brains know that the person waits
	seat    string    // the seat that is offered now
	offered time.Time // when it was
	// The person's goroutine reads these. Each holds one item; a new update
	// replaces the one before.
	offers  chan wire.Seat
	updates chan wire.Message
	outcome chan outcome

	// span is of the launch at this brain, until a seat is granted.
	span *trace.Span

	last  wire.Message // the last update, so that only changes are sent
	ended bool         // outcome is sent; the person has only to leave the line
}

// outcome is how serving a person ends: the last message and the close code.
type outcome struct {
	message wire.Message
	code    int // of the WebSocket's close
}

func newWaiter(claims ticket.Claims, token string, now time.Time) *waiter {
	w := &waiter{
		session: claims.Session, app: claims.App, since: now, claims: claims, token: token,
		offers: make(chan wire.Seat, 1), updates: make(chan wire.Message, 1), outcome: make(chan outcome, 1),
	}
	w.place = &place{app: w.app, first: claims.First, session: w.session, version: claims.Version, w: w}
	if w.place.first.IsZero() {
		w.place.first = now
	}
	w.holder = holderOf(claims.Subject, claims.Network, claims.App)
	return w
}

// end ends the waiting. Only the first outcome counts.
func (w *waiter) end(o outcome) {
	if w.ended {
		return
	}
	w.ended = true
	w.outcome <- o
}

// waits reports whether the person needs a seat and is offered none.
func (w *waiter) waits() bool { return w.seat == "" && !w.ended }

// update sends the person an update unless it says what the last one said.
func (w *waiter) update(m wire.Message) {
	if w.last.Type == m.Type && (m.Queue != nil && *m.Queue == *w.last.Queue || m.Progress != nil && *m.Progress == *w.last.Progress) {
		return
	}
	w.last = m
	select {
	case <-w.updates:
	default:
	}
	w.updates <- m
}

// lapsed reports whether the person's ticket has run out and was not renewed. They
// keep their place until nobody takes the ticket any more, but are no demand: a
// page that is alive renews in time.
func (w *waiter) lapsed(now time.Time) bool {
	return !w.claims.Expires.IsZero() && now.After(w.claims.Expires)
}

// serve offers an app's free seats to its line, and tells those who are next of it. mu is
// held.
func (st *state) serve(id string, now time.Time) {
	l, a := st.lines[id], st.view.apps[id]
	if l == nil || l.own == 0 {
		return
	}
	if a == nil || !a.published {
		if st.view.jobsKnown {
			st.endAll(l, refused(unknownApp(id)))
		}
		return
	}
	st.endNoVersion(a, l, now)
	if !st.paused {
		most := st.window.offers()
		for _, m := range l.match(a.free, most-st.offers, now) {
			st.offer(m.w, m.u, now)
		}
		if len(a.free) > 0 && st.offers >= most && !slices.Contains(st.stalled, id) {
			st.stalled = append(st.stalled, id)
		}
	}
	place := 0
	for _, p := range l.places {
		if place > len(a.coming) {
			return
		}
		if p.waits(now) {
			if place++; p.w != nil {
				st.tellPlace(p.w, a, place, now)
			}
		}
	}
}

// behind reports whether more people wait here for free seats than twice as many as are offered
// one at once.
func (st *state) behind() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	people, free := -st.offers, 0
	for _, id := range st.stalled {
		if l, a := st.lines[id], st.view.apps[id]; l != nil && a != nil {
			people += l.own
			free += len(a.free)
		}
	}
	return min(people, free) > 2*st.window.offers()
}

// offer offers a seat to a person. mu is held.
func (st *state) offer(w *waiter, u *unit, now time.Time) {
	w.seat, w.offered = u.child.Alloc, now
	st.offers++
	st.view.reserve(w.seat, now)
	w.offers <- u.seat.Seat
	if w.told {
		st.tell(w)
	}
}

// tell tells the other brains of a person who waits here. mu is held.
func (st *state) tell(w *waiter) {
	st.told.Set(w.session, wire.Waiting{App: w.app, First: w.place.first, Version: w.place.version, Offered: w.seat,
		Customer: w.claims.Customer, Subject: w.claims.Subject, Meta: w.claims.Meta})
}

// endAll ends the waiting of all people of a line who wait here. mu is held.
func (st *state) endAll(l *line, o outcome) {
	for _, p := range l.places {
		if p.w != nil {
			p.w.end(o)
		}
	}
}

// enqueue puts a person into their app's line, at the place that their ticket has, unless
// they have too many sessions. It replaces a waiter of the same session.
func (st *state) enqueue(w *waiter) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	if over := st.overCap(w.claims); over != nil {
		w.end(refused(*over))
		return
	}
	old := st.waiters[w.session]
	if old != nil {
		old.end(outcome{code: wire.CloseReplaced})
		w.attempts, w.since = old.attempts, old.since
		st.drop(old)
	}
	moved := st.aside(w.session, "")
	if moved || old != nil || !w.rested && now.Sub(w.place.first) > newFor {
		st.came.note(w.session, now) // counted before, here or at another brain
	} else {
		st.arrived(w.session, w.app, now)
	}
	l := st.line(w.app)
	st.waiters[w.session] = w
	add(st.holders, w.holder, w)
	l.add(w.place)
	st.metrics.waiting(w.app, l.own)
	st.replan(w, now)
	st.view.comesBack(w.session)
	st.changed()
	if !w.waits() {
		return
	}
	w.told = true
	st.tell(w)
	if a := st.view.apps[w.app]; a != nil && w.last.Type == "" {
		// Once a second everybody is told exactly. Those with an offer are in front.
		at, _ := l.find(w.place)
		st.tellPlace(w, a, max(1, at+1-st.offers), now)
	}
}

// replan has an app served and planned after a person came or went: seats that were
// dispatched for them count differently now. mu is held.
func (st *state) replan(w *waiter, now time.Time) {
	st.view.changed[w.app] = true
	for _, u := range slices.Collect(maps.Keys(st.view.byToken[w.session])) {
		st.view.place(u, now)
	}
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
	l := st.lines[w.app]
	if st.waiters[w.session] == w {
		delete(st.waiters, w.session)
	}
	remove(st.holders, w.holder, w)
	st.release(w)
	if w.told && !st.closing && st.waiters[w.session] == nil { // else their next connection tells of them
		st.told.Delete(w.session)
	}
	if l == nil {
		return
	}
	l.remove(w.place)
	if len(l.places) == 0 {
		delete(st.lines, w.app)
	}
	st.stands(w.session)
	st.metrics.waiting(w.app, l.own)
	st.replan(w, st.now())
}

// release ends an offer. mu is held.
func (st *state) release(w *waiter) {
	if w.seat == "" {
		return
	}
	st.view.unreserve(w.seat, st.now())
	w.seat = ""
	select {
	case <-w.offers:
	default:
	}
	st.offers--
	for len(st.stalled) > 0 { // one offer has ended, and one app goes on
		id := st.stalled[0]
		st.view.changed[id] = true
		st.stalled = slices.Delete(st.stalled, 0, 1)
		if l := st.lines[id]; l != nil && l.own > 0 {
			break
		} // else its people have gone, and the next app may go on
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
	now := st.now()
	switch why {
	case seatTaken:
		st.view.noteTaken(seat.ID, seat.Since, ticket.Claims{}, now)
	case seatUnreachable:
		st.view.noteUnreachable(seat.ID, now)
		st.view.comesBack(w.session) // it may have taken the claim
		st.window.shrink(now)
	case seatSick:
		st.view.noteSick(seat.ID, now)
	}
	st.release(w)
	st.goesOn(w)
}

// granted notes that w has the seat.
func (st *state) granted(w *waiter, seat wire.Seat) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	st.window.claimed(now.Sub(w.offered), now)
	st.view.noteTaken(seat.ID, seat.Since, w.claims, now)
	if u := st.view.byAlloc[seat.ID]; u != nil && u.seat != nil {
		st.view.proven(u)
	}
	st.drop(w)
	st.changed()
}

// ticketOf returns the ticket in force.
func (st *state) ticketOf(w *waiter) (token string, claims ticket.Claims) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return w.token, w.claims
}

// unmarked notes that Consul did not say for which seat w's ticket is used. Nobody is
// offered a seat before Consul answers again; see watchConsul.
func (st *state) unmarked(w *waiter) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pause(true)
	st.window.shrink(st.now())
	st.release(w)
	st.view.comesBack(w.session)
	st.goesOn(w)
}

// goesOn offers the next seat to a person who cannot have the one before, and tells the
// other brains if there is none. mu is held.
func (st *state) goesOn(w *waiter) {
	st.view.changed[w.app] = true
	st.changed()
	if st.waiters[w.session] == w && w.waits() {
		w.told = true
		st.tell(w)
	}
}

// pause notes whether seats can be given now. mu is held.
func (st *state) pause(paused bool) {
	st.paused = paused
	for id := range st.lines {
		st.view.changed[id] = true
	}
}

// setPaused says whether seats can be given now.
func (st *state) setPaused(paused bool) (changed bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.paused == paused {
		return false
	}
	st.pause(paused)
	now := st.now()
	for id, l := range st.lines {
		st.tellPlaces(id, l, now)
	}
	st.changed()
	return true
}

// renew replaces a waiting person's ticket.
func (st *state) renew(w *waiter, claims ticket.Claims, token string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	w.claims, w.token = claims, token
	st.view.changed[w.app] = true
	st.changed()
}
