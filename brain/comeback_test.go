package brain_test

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// idleSeats starts idle seats, alloc-0 first, which is offered first.
func (s *site) idleSeats(n int) (out []*seat) {
	for i := range n {
		out = append(out, s.seat("game", fmt.Sprintf("game/dispatch-v1-%d", i), fmt.Sprintf("alloc-%d", i), wire.SeatIdle))
	}
	return out
}

// beside is a brain in this process, with so many seats and a Nomad that starts none.
func (s *site) beside(name string, seats int) *replica {
	s.t.Helper()
	b := s.brainWith(name, func(cfg *brain.Config) { cfg.Nomad = oneApp{"game", seats} })
	s.until("the brain knows the seats", func() bool { return b.Idle("game") == seats })
	return b
}

// show comes to a brain with a ticket.
func (s *site) show(r *replica, token string) *person {
	s.t.Helper()
	p := s.dial(r)
	p.send(wire.Message{Type: wire.MsgHello, Ticket: token})
	return p
}

// refusedFor expects a refusal of the type.
func (p *person) refusedFor(kind string) {
	p.t.Helper()
	for {
		m, err := p.next()
		if err != nil {
			p.t.Fatalf("waiting for a refusal: %v", err)
		}
		if m.Type == wire.MsgRefused {
			if m.Problem.Type != kind {
				p.t.Fatalf("refused: %+v", m.Problem)
			}
			return
		}
		if m.Type == wire.MsgGranted {
			p.t.Fatalf("granted %+v", m.Grant)
		}
	}
}

// seatsOf are the seats that a session has had.
func seatsOf(seats []*seat, session string) (out []string) {
	for _, x := range seats {
		x.mu.Lock()
		if x.used[session] {
			out = append(out, x.rec.ID)
		}
		x.mu.Unlock()
	}
	return out
}

// recordOf reads for which seat a ticket is used.
func (s *site) recordOf(session string) wire.UsedTicket {
	s.t.Helper()
	// An index that no record has.
	now, _, _, err := s.fleet.UseTicket(s.ctx, session, wire.UsedTicket{}, 1)
	if err != nil {
		s.t.Fatal(err)
	}
	return now
}

// use records for which seat a ticket is used, as a brain that died after it has done.
func (s *site) use(session, seat string) {
	s.t.Helper()
	used := wire.UsedTicket{Brain: "dead", Seat: seat, Expires: time.Now().Add(time.Hour)}
	if _, _, ok, err := s.fleet.UseTicket(s.ctx, session, used, 0); err != nil || !ok {
		s.t.Fatal(ok, err)
	}
}

// A brain is killed in the middle of a claim. Its person comes to another brain with the same
// ticket, and has the same seat, and no other.
func TestBrainKilledInAClaim(t *testing.T) {
	s := newSite(t)
	seats := s.idleSeats(4)
	second := &replica{url: "http://" + s.process("b2", "game", len(seats)).address}
	for name, c := range map[string]struct {
		taken bool // the seat took the ticket
		late  bool // the other brain has not heard of it
	}{
		"before the seat takes the ticket":          {},
		"before the grant":                          {taken: true},
		"before the grant, and the feed comes late": {taken: true, late: true},
	} {
		first := s.process("b1", "game", len(seats))
		token, session := s.ticket("game", 0)
		let := make(chan struct{})
		var once sync.Once
		died := make(chan string, 1)
		kill := func(x *seat) func(string) {
			return func(who string) {
				mine := false
				if who == session {
					once.Do(func() { mine = true })
				}
				if mine {
					first.Kill()
					died <- x.rec.ID
					<-let
				}
			}
		}
		for _, x := range seats {
			x.mu.Lock()
			x.reached, x.granting, x.silent = nil, nil, c.late
			if c.taken {
				x.granting = kill(x)
			} else {
				x.reached = kill(x)
			}
			x.mu.Unlock()
		}
		p := s.show(&replica{url: "http://" + first.address}, token)
		p.session = session
		var had string
		select {
		case had = <-died:
		case <-s.ctx.Done():
			t.Fatal("no brain claims a seat")
		}
		if m, err := p.next(); err == nil && m.Type == wire.MsgGranted {
			t.Fatalf("%s: the brain that was killed has granted %v", name, m.Grant)
		}
		again := s.show(second, token)
		grant := again.expect(wire.MsgGranted).Grant
		if grant.Seat != had || grant.Session != session {
			t.Errorf("%s: claimed %s, and then granted %+v", name, had, grant)
		}
		close(let) // what the dead brain asked for arrives now
		for _, x := range seats {
			x.mu.Lock()
			x.silent = false
			x.tell()
			x.mu.Unlock()
		}
		again.send(wire.Message{Type: wire.MsgOffer, SDP: "offer"})
		again.expect(wire.MsgAnswer)
		if got := seatsOf(seats, session); !slices.Equal(got, []string{had}) {
			t.Errorf("%s: the session had the seats %v", name, got)
		}
		if r := s.recordOf(session); r.Seat != had || r.Brain != "b2" {
			t.Errorf("%s: the record is %+v", name, r)
		}
		// The person has a picture: the ticket is of no use any more.
		s.show(second, token).refusedFor(wire.ProblemTicketUsed)
	}
}

// What another brain did with the ticket stands in Consul alone: no node has told of it.
func TestRecordOfATicketNamesItsSeat(t *testing.T) {
	s := newSite(t)
	seats := s.idleSeats(6)
	b := s.beside("b1", len(seats))

	// The record names another seat than the one that is offered.
	token, session := s.ticket("game", 0)
	s.use(session, "alloc-4")
	if got := s.show(b, token).expect(wire.MsgGranted).Grant.Seat; got != "alloc-4" {
		t.Errorf("granted %s", got)
	}

	// Somebody else got that seat first: the person goes on, and keeps their place.
	token, session = s.ticket("game", 0)
	s.use(session, "alloc-4")
	got := s.show(b, token).expect(wire.MsgGranted).Grant.Seat
	if got == "alloc-4" || s.recordOf(session).Seat != got {
		t.Errorf("granted %s, and the record is %+v", got, s.recordOf(session))
	}
	// From then on the seat takes no claim by the record as it was before.
	x := s.at("alloc-4")
	x.mu.Lock()
	if x.tries[session] == 0 {
		t.Error("the seat was not told by which record it was claimed")
	}
	x.mu.Unlock()

	// The session was over there.
	token, session = s.ticket("game", 0)
	s.use(session, "alloc-5")
	x = s.at("alloc-5")
	x.mu.Lock()
	x.used[session] = true
	x.mu.Unlock()
	s.show(b, token).refusedFor(wire.ProblemTicketUsed)

	// That seat is gone, and nobody can say what became of the session.
	token, session = s.ticket("game", 0)
	s.use(session, "alloc-of-old")
	s.show(b, token).refusedFor(wire.ProblemTicketUsed)

	// That seat does not answer. It may have the session: the person is to come again.
	token, session = s.ticket("game", 0)
	s.use(session, "alloc-5")
	x.mu.Lock()
	listens := x.rec.Address
	x.rec.Address = "127.0.0.1:1"
	x.tell()
	x.mu.Unlock()
	s.until("the brain knows", func() bool {
		p := s.show(b, token)
		m, err := p.next()
		for err == nil && m.Type != wire.MsgRefused && m.Type != wire.MsgGranted {
			m, err = p.next()
		}
		return err == nil && m.Type == wire.MsgRefused && m.Problem.Type == wire.ProblemUnavailable
	})
	if got := seatsOf(seats, session); len(got) != 0 && !slices.Equal(got, []string{"alloc-5"}) {
		t.Errorf("the session has the seats %v", got)
	}
	x.mu.Lock()
	x.rec.Address = listens
	x.tell()
	x.mu.Unlock()
	s.until("the person has their seat", func() bool {
		m, err := s.show(b, token).next()
		return err == nil && m.Type == wire.MsgGranted && m.Grant.Seat == "alloc-5"
	})

	// A record without a seat is that of a brain of an earlier version.
	token, session = s.ticket("game", 0)
	s.use(session, "")
	s.show(b, token).refusedFor(wire.ProblemTicketUsed)
}

// A seat has just ended, and Nomad has not said so when its person comes with the ticket again.
func TestOwnSeatHasJustEnded(t *testing.T) {
	s := newSite(t, brain.App{ID: "viewer", Version: 1, Warm: 1, Max: 1})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	s.until("a seat is idle", func() bool { return b.Idle("viewer") == 1 })
	token, session := s.ticket("viewer", 1)
	s.show(b, token).expect(wire.MsgGranted)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer l.Close()
	x := s.at(s.recordOf(session).Seat)
	x.mu.Lock()
	x.rec.Address = l.Addr().String()
	x.tell()
	child := x.rec.Job
	x.mu.Unlock()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = l.Close(), conn.Close() // the seat does not answer any more
			s.nomad.died(child, wire.End{Reason: wire.ReasonLeft})
		}
	}()
	// Until the brain has the new address, the seat grants itself again.
	var m wire.Message
	s.until("the person is refused", func() bool {
		m, err = s.show(b, token).next()
		return err != nil || m.Type != wire.MsgGranted
	})
	if err != nil || m.Type != wire.MsgRefused || m.Problem.Type != wire.ProblemTicketUsed {
		t.Errorf("the person was told %+v, %v", m, err)
	}
}

// No seat is free, and the brain has not heard yet that one is the person's own. They wait in
// line until it has, and no longer.
func TestOwnSeatIsHeardOfLate(t *testing.T) {
	s := newSite(t)
	seats := s.idleSeats(1)
	b := s.beside("b1", 1)
	x := seats[0]
	first := s.play(b, "game")
	first.expect(wire.MsgGranted)
	first.expect(wire.MsgAnswer)
	token, session := s.ticket("game", 0)
	others := s.play(b, "game") // they came before
	others.expect(wire.MsgQueued)
	p := s.show(b, token)
	p.expect(wire.MsgQueued)
	// The seat became idle, and the brain that claimed it has died: this one hears of both at once.
	s.use(session, x.rec.ID)
	x.mu.Lock()
	x.used[session] = true
	x.become(wire.SeatClaimed, session)
	x.mu.Unlock()
	if got := p.expect(wire.MsgGranted).Grant.Session; got != session {
		t.Errorf("granted session %s", got)
	}
	// And one who comes when the brain has heard does not wait at all.
	again := s.show(b, token)
	if m, err := again.next(); err != nil || m.Type != wire.MsgGranted {
		t.Errorf("heard %s, %v", m.Type, err)
	}
	p.closed(wire.CloseReplaced)
}

// Two brains that live serve one ticket at the same time. It gives one seat.
func TestOneTicketAtTwoBrains(t *testing.T) {
	const tickets = 12
	s := newSite(t)
	seats := s.idleSeats(2 * tickets)
	brains := []*replica{s.beside("b1", len(seats)), s.beside("b2", len(seats))}
	var all sync.WaitGroup
	var mu sync.Mutex
	granted := map[string][]string{}
	var sessions []string
	for range tickets {
		token, session := s.ticket("game", 0)
		sessions = append(sessions, session)
		for _, b := range append(brains, brains...) {
			p := s.dial(b)
			all.Go(func() {
				p.send(wire.Message{Type: wire.MsgHello, Ticket: token})
				for {
					m, err := p.next()
					if err != nil || m.Type == wire.MsgRefused {
						return // replaced by the others
					}
					if m.Type == wire.MsgGranted {
						mu.Lock()
						granted[session] = append(granted[session], m.Grant.Seat)
						mu.Unlock()
						return
					}
				}
			})
		}
	}
	all.Wait()
	for _, session := range sessions {
		had := seatsOf(seats, session)
		if len(had) != 1 || len(granted[session]) == 0 || slices.ContainsFunc(granted[session], func(seat string) bool { return seat != had[0] }) {
			t.Errorf("one ticket had the seats %v, and was granted %v; the record is %+v", had, granted[session], s.recordOf(session))
		}
	}
}
