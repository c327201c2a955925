package brain

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// simLease is how long a simulated seat waits for a person who has not heard of it.
const simLease = 15 * time.Second

// claiming is the part of chaos that claims: the records of tickets in Consul, and what
// became of each session. A claim is a write to Consul, a request to the seat, its answer, and
// the word to the person. Each is a step of its own, between which anything may happen: the
// brain dies, the request comes after the brain has given up, the answer is lost, the person
// comes to another brain while the first one still claims.
type claiming struct {
	records map[string]simRecord
	index   uint64
	told    map[string]string // the seat that a session's person was told of
	lapsed  map[string]bool   // sessions whose person was too late
	fate    map[string]string // of sessions that are over
	leased
	again int // claims that a seat has granted again
	moved int // claims of a seat that another brain had named
	notes map[string][]string
}

// note keeps what happened to a session, to be shown where the test fails.
func (c *chaos) note(session, format string, args ...any) {
	at := c.now.Sub(time.Unix(1_000_000, 0))
	c.log(format, args...)
	c.notes[session] = append(c.notes[session], fmt.Sprintf("%v: "+format, append([]any{at}, args...)...))
}

// story is what happened to a session.
func (c *chaos) story(session string) string { return "\n" + strings.Join(c.notes[session], "\n") }

type simRecord struct {
	wire.UsedTicket
	index uint64
}

func newClaiming() claiming {
	return claiming{records: map[string]simRecord{}, told: map[string]string{}, lapsed: map[string]bool{}, fate: map[string]string{}, notes: map[string][]string{}}
}

// useTicket is Fleet.UseTicket.
func (c *chaos) useTicket(session string, want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error) {
	fails := !c.calm && c.chance(3)
	if fails && c.chance(50) {
		return wire.UsedTicket{}, 0, false, errors.New("no leader")
	}
	now := c.records[session]
	written := now.index == at
	c.note(session, "%s writes %s over record %d; there is %d of %s; fails: %v", want.Brain, want.Seat, at, now.index, now.Seat, fails)
	if written {
		c.index++
		now = simRecord{want, c.index}
		c.records[session] = now
	}
	if fails {
		return wire.UsedTicket{}, 0, false, errors.New("the answer is lost")
	}
	return now.UsedTicket, now.index, written, nil
}

func (c *chaos) childAt(alloc string) *simChild {
	i := slices.IndexFunc(c.children, func(f *simChild) bool { return f.Alloc == alloc })
	if i < 0 {
		return nil
	}
	return c.children[i]
}

// forgotten reports whether a seat has ended so long ago that brains know nothing of it.
func (c *chaos) forgotten(alloc string) bool {
	f := c.childAt(alloc)
	return f.State == ChildDead && c.now.Sub(f.died) > endedFor
}

// take is a claim that arrives at a seat. It returns the status of the answer; 0 is none.
func (c *chaos) take(alloc, session string, asks, try uint64) int {
	f := c.childAt(alloc)
	if f == nil || f.State == ChildDead {
		return 0
	}
	if asks != 0 && asks != f.Version {
		c.fail("%s asked for version %d and was offered %d", session, asks, f.Version)
	}
	again := f.seat.State == wire.SeatClaimed && f.seat.Session == session
	c.note(session, "%s, %s of %q, gets a claim by record %d; had %d", alloc, f.seat.State, f.seat.Session, try, f.tries[session])
	switch {
	case f.used[session] && !again:
		return http.StatusForbidden
	case try < f.tries[session]:
		return http.StatusConflict
	}
	if f.used == nil {
		f.used, f.tries = map[string]bool{}, map[string]uint64{}
	}
	f.tries[session] = try
	switch {
	case again:
		c.again++
	case f.seat.State != wire.SeatIdle || c.doomed:
		return http.StatusConflict
	default:
		if f.lent != "" {
			c.taken++
		}
		f.used[session], f.had = true, true
		f.become(wire.SeatClaimed, c.now)
		f.seat.Session = session
	}
	return http.StatusSwitchingProtocols
}

// claim is Broker.tryClaim.
func (c *chaos) claim(s *simPerson, offered wire.Seat) {
	m, w := s.at, s.w
	lost := func() bool { return s.w != w || s.gone } // the brain has died, or has noticed that the socket is lost
	err := w.use.name(wire.UsedTicket{Brain: m.id, Seat: offered.ID}, func(want wire.UsedTicket, at uint64) (wire.UsedTicket, uint64, bool, error) {
		return c.useTicket(s.session, want, at)
	})
	switch {
	case errors.Is(err, errMoved):
		m.leave(w)
		if s.twin {
			s.gone = true
		} else {
			c.comeAgain(s)
		}
		return
	case errors.Is(err, errTicketUsed):
		c.fail("the record of %s names no seat", s.session)
	case err != nil:
		m.unmarked(w)
		return
	}
	seat := offered
	if id := w.use.record.Seat; id != offered.ID {
		c.moved++
		was := m.locate(id)
		switch {
		case was.end != nil:
			c.ticketUsed(s, id)
			return
		case was.seat.Address == "" && c.forgotten(id):
			c.ticketUsed(s, id) // they are refused, again and again, until they press Play
			return
		case was.seat.Address == "":
			c.later(func() { // the brain waits for word of the seat
				if !lost() {
					c.claim(s, offered)
				}
			})
			return
		}
		seat = was.seat
	}
	try := w.use.index
	arrive := func() int { return c.take(seat.ID, s.session, s.asks, try) }
	answer := func(status int) {
		c.later(func() {
			if !lost() {
				c.answered(s, seat, status)
			}
		})
	}
	c.later(func() {
		switch {
		case lost() && c.chance(50):
			// It was not sent.
		case c.calm || !c.chance(20):
			answer(arrive())
		case c.chance(30):
			answer(0)
		case c.chance(50):
			arrive()
			answer(0)
		default:
			answer(0)
			c.later(func() { arrive() })
		}
	})
}

// comeAgain has a person come to any brain with the same ticket.
func (c *chaos) comeAgain(s *simPerson) {
	s.at = c.replicas[c.r.IntN(len(c.replicas))]
	c.enter(s)
}

// answered takes a seat's answer to a claim.
func (c *chaos) answered(s *simPerson, seat wire.Seat, status int) {
	m, w := s.at, s.w
	c.note(s.session, "%s, twin %v, has the answer %d of %s, by record %d of %s", m.id, s.twin, status, seat.ID, w.use.index, w.use.record.Seat)
	if status == http.StatusSwitchingProtocols {
		m.granted(w, seat)
		c.later(func() {
			if s.w == w && !s.gone {
				c.hears(s, seat.ID)
			}
		})
		return
	}
	err := errors.New("no answer")
	if status != 0 {
		err = refusal{status: status}
	}
	switch w.use.refused(err) {
	case meansUsed:
		c.ticketUsed(s, seat.ID)
	case meansAgain:
		m.leave(w)
		c.comeAgain(s)
	case meansUnreachable:
		m.declined(w, seat, seatUnreachable)
	default:
		m.declined(w, seat, seatTaken)
	}
}

// hears tells a person of their seat.
func (c *chaos) hears(s *simPerson, alloc string) {
	if had := c.told[s.session]; had != "" && had != alloc {
		c.fail("%s has %s, and is told of %s%s", s.session, had, alloc, c.story(s.session))
	}
	c.note(s.session, "%s tells of %s", s.at.id, alloc)
	c.told[s.session], c.fate[s.session] = alloc, "served"
	if f := c.childAt(alloc); f.State != ChildDead && f.seat.Session == s.session {
		f.served = true
		if f.seat.State == wire.SeatClaimed {
			f.become(wire.SeatStreaming, c.now)
			f.seat.Session = s.session
		}
		c.served++
	}
	s.gone = true
	s.at.leave(s.w)
}

// ticketUsed ends the waiting of a person whose ticket was used for a seat. That is right
// where they know of the seat, were too late, or it has died.
func (c *chaos) ticketUsed(s *simPerson, alloc string) {
	f := c.childAt(alloc)
	if c.told[s.session] == "" && !c.lapsed[s.session] && f.State != ChildDead {
		c.fail("%s is refused, and has lost nothing: %s is %+v%s", s.session, alloc, f.seat, c.story(s.session))
	}
	if c.fate[s.session] == "" {
		c.fate[s.session] = "too late"
	}
	s.gone = true
	s.at.leave(s.w)
}
