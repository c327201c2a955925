package brain

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// leased counts what became of seats that were prepared.
type leased struct{ lent, played, taken, late int }

func (l *leased) add(o leased) {
	l.lent, l.played, l.taken, l.late = l.lent+o.lent, l.played+o.played, l.taken+o.taken, l.late+o.late
}

// TestChaosOfLeases has most people rest on Play before they press it, at an app with seats to
// spare. No seat stays prepared, none has two people, and no ticket begins two sessions.
func TestChaosOfLeases(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 20
	}
	all := leased{}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newChaos(t, seed, 1+int(seed%3), App{ID: game, Version: 1, Warm: 6 + int(seed%4), Max: 16})
			c.hoverers, c.roomy = 70, true
			for range 4000 {
				c.step()
			}
			c.calmDown()
			all.add(c.leased)
		})
	}
	t.Logf("%+v", all)
	if n := int(seeds); all.lent < n || all.played < n/2 || all.taken < n/10 || all.late == 0 {
		t.Errorf("too little was prepared to show anything: %+v", all)
	}
}

// hover is Broker.prepare. Each of its steps is one of its own, as those of a claim are; the
// brain may die between any two, and then its people come to another one.
func (c *chaos) hover(s *simPerson) {
	m := s.at
	claims := ticket.Claims{Session: s.session, App: game, Version: s.asks, First: s.came, Expires: c.now.Add(time.Hour)}
	if m.admissible(claims) != nil {
		c.fate[s.session] = "told why not"
		s.gone = true
		return
	}
	st, w := m.state, newWaiter(claims, "", c.now)
	s.w, s.hovers = w, true
	lost := func() bool { return s.w != w || s.gone }
	l := st.lend(w, netip.Prefix{})
	if l == nil {
		c.later(func() { c.press(s, w) })
		return
	}
	left := 0
	for _, u := range st.view.apps[game].free {
		if !u.spot.lent {
			left++
		}
	}
	if len(st.lines) > 0 || left == 0 {
		c.fail("%s lends %s, and %d are left, %d apps have a queue", m.id, l.seat.ID, left, len(st.lines))
	}
	c.note(s.session, "%s lends %s", m.id, l.seat.ID)
	back := func(means refusalMeans) {
		st.giveBack(l, means)
		if !lost() {
			c.later(func() { c.press(s, w) })
		}
	}
	c.later(func() {
		err := w.use.name(wire.UsedTicket{Brain: m.id, Seat: l.seat.ID}, func(want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error) {
			return c.useTicket(s.session, want, at)
		})
		if lost() || err != nil || w.use.record.Seat != l.seat.ID || !w.use.chosen {
			back(meansTaken)
			return
		}
		try := w.use.index
		c.later(func() {
			status := 0
			if c.calm || !c.chance(10) {
				status = c.takeLease(l.seat.ID, s.session, try)
			}
			if c.calm || !c.chance(10) {
				c.later(func() { c.hovers(s, st, l, status, lost, back) })
				return
			}
			c.later(func() { c.hovers(s, st, l, 0, lost, back) })
		})
	})
}

// hovers takes the seat's answer to a brain that asks for a lease.
func (c *chaos) hovers(s *simPerson, st *state, l *lease, status int, lost func() bool, back func(refusalMeans)) {
	f := c.childAt(l.seat.ID)
	switch {
	case lost():
		f.unlend(s.session) // the connection is lost
		st.giveBack(l, meansTaken)
		return
	case status != http.StatusSwitchingProtocols:
		err := errors.New("no answer")
		if status != 0 {
			err = refusal{status: status}
		}
		back(l.w.use.refused(err))
		return
	}
	c.lent++
	c.later(func() {
		if lost() || c.chance(30) { // the person goes
			if !lost() {
				c.fate[s.session], s.gone = "left", true
			}
			f.unlend(s.session)
			st.giveBack(l, meansTaken)
			return
		}
		if st.plays(l.w) != nil {
			c.fail("%s may not play", s.session)
		}
		c.later(func() { c.plays(s, st, l, lost) })
	})
}

// plays is Play, as it comes to the seat.
func (c *chaos) plays(s *simPerson, st *state, l *lease, lost func() bool) {
	f := c.childAt(l.seat.ID)
	began := f.State != ChildDead && f.seat.State == wire.SeatIdle && f.lent == s.session
	c.note(s.session, "plays at %s, which is %s of %q, lent to %q: %v", l.seat.ID, f.seat.State, f.seat.Session, f.lent, began)
	if began {
		if f.used == nil {
			f.used, f.tries = map[string]bool{}, map[string]uint64{}
		}
		f.used[s.session], f.had, f.served = true, true, true
		f.become(wire.SeatStreaming, c.now)
		f.seat.Session = s.session
		c.played++
	}
	c.later(func() {
		switch {
		case began && !lost():
			st.played(l)
			c.hears(s, l.seat.ID)
		case began: // the person does not hear of it
			c.lapsed[s.session] = true
		case !lost():
			c.late++
			st.giveBack(l, meansTaken)
			c.comeAgain(s) // the ticket is as good as it was
			return
		}
		st.giveBack(l, meansTaken)
	})
}

// press is Play where nothing is prepared: the person waits like all others, with what the
// brain knows of their ticket.
func (c *chaos) press(s *simPerson, w *waiter) {
	if s.w != w || s.gone {
		return
	}
	if c.calm || c.chance(80) {
		s.hovers = false
		s.at.enqueue(w)
		return
	}
	c.fate[s.session], s.gone = "left", true
}

// lookHovering has a person show their ticket to another brain, before they press Play.
func (c *chaos) lookHovering(s *simPerson) {
	if !c.calm && c.chance(2) {
		c.comeTwice(s)
	}
}

// comeTwice has a person come to any brain with another socket.
func (c *chaos) comeTwice(s *simPerson) {
	if s.twin {
		return
	}
	s.twin = true
	again := &simPerson{session: s.session, asks: s.asks, came: s.came}
	c.people = append(c.people, again)
	c.comeAgain(again)
}

// takeLease is a request for a lease that arrives at a seat.
func (c *chaos) takeLease(alloc, session string, try uint64) int {
	f := c.childAt(alloc)
	switch {
	case f == nil || f.State == ChildDead:
		return 0
	case f.used[session]:
		return http.StatusForbidden
	case f.seat.State != wire.SeatIdle || f.lent != "" || try < f.tries[session] || c.doomed:
		return http.StatusConflict
	}
	f.lent, f.lentAt, f.seat.Prepared = session, c.now, true
	return http.StatusSwitchingProtocols
}

// unlend ends a lease that has not become a session.
func (f *simChild) unlend(session string) {
	if f.lent == session {
		f.lent, f.seat.Prepared = "", false
	}
}
