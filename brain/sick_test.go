package brain_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestSickSeat has two idle seats. The one that is offered first refuses good
// tickets, as its clock is eight minutes ahead. The other one serves the person, and
// the next person is not sent to the sick one.
func TestSickSeat(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 0, Max: 3})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	s.nomad.change(func(j brain.Jobs) {
		for _, n := range []string{"1", "2"} {
			j.Children["game/dispatch-v1-x"+n] = brain.Child{ID: "game/dispatch-v1-x" + n, App: "game", Version: 1,
				Alloc: "sick-" + n, Node: consulNode, State: brain.ChildRunning, Created: time.Now()}
		}
	})
	sick := s.seat("game", "game/dispatch-v1-x1", "sick-1", wire.SeatIdle)
	sick.mu.Lock()
	sick.sick, sick.clock = true, 8*time.Minute
	sick.mu.Unlock()
	s.seat("game", "game/dispatch-v1-x2", "sick-2", wire.SeatIdle)
	s.until("both seats are known", func() bool { return b.Idle("game") == 2 })

	p := s.play(b, "game")
	if grant := p.expect(wire.MsgGranted).Grant; grant.Seat != "sick-2" {
		t.Errorf("seat %s serves", grant.Seat)
	}
	next := s.play(b, "game") // has a new seat, as neither is free
	if grant := next.expect(wire.MsgGranted).Grant; grant.Seat == "sick-1" {
		t.Error("the sick seat serves")
	}
	sick.mu.Lock()
	if sick.refused != 1 {
		t.Errorf("%d people were sent to the sick seat", sick.refused)
	}
	sick.sick = false
	sick.mu.Unlock()
	if n := b.value("nearcast_brain_sick_seats_total", consulNode); n != 1 {
		t.Errorf("the metric counts %v sick seats of the node", n)
	}
	if off := b.value("nearcast_brain_node_clock_offset_seconds", consulNode); off < 478 || off > 482 {
		t.Errorf("the node's clock is said to be off by %v s", off)
	}
	text := s.logs.String()
	if !strings.Contains(text, "node="+consulNode) || !strings.Contains(text, "clock_off=8m0") && !strings.Contains(text, "clock_off=7m59") {
		t.Error("the log names neither the node nor how far its clock is off")
	}
	// It is well again, and after its time it serves.
	third := s.play(b, "game")
	if grant := third.expect(wire.MsgGranted).Grant; grant.Seat != "sick-1" {
		t.Errorf("seat %s serves", grant.Seat)
	}
}

// TestLapsedWaiter has a person whose page does not renew its ticket.
func TestLapsedWaiter(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 1})
	s.nomad.placed = func(brain.Child) {} // it is never idle
	b := s.brain("b1")
	published := s.published("game")
	session := ticket.NewSession()
	// It has five seconds, and is taken for half a minute more.
	issued := time.Now().Add(-ticket.TTL + 5*time.Second)
	token, _, err := s.signer.Sign(ticket.Claims{Session: session, App: "game", Sites: []string{"dc1"}, Issued: issued, Expires: issued.Add(ticket.TTL)})
	if err != nil {
		t.Fatal(err)
	}
	p := s.dial(b)
	p.send(wire.Message{Type: wire.MsgHello, Ticket: token})
	p.expect(wire.MsgStarting)
	s.until("the person waits", func() bool { return published().Capacity.Queued == 1 })
	begin := time.Now()
	s.until("they are no demand any more", func() bool { return published().Capacity.Queued == 0 })
	if d := time.Since(begin); d > 8*time.Second {
		t.Errorf("a ticket that lapses in 5 s was demand for %v", d)
	}
	status, body := call(t, http.MethodGet, b.internal+"/v1/sessions/"+session)
	if status != 200 || !strings.Contains(body, "waiting") {
		t.Errorf("the person has lost their place: %d %s", status, body)
	}
	if m, err := p.next(); err != nil || m.Type != wire.MsgRefused || m.Problem.Type != wire.ProblemTicket {
		t.Errorf("in the end: %+v, %v", m, err)
	}
}
