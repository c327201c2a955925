package seat

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// A claim can be repeated until the browser connects, and changes nothing then.
func TestClaimAgain(t *testing.T) {
	s, clock, states := newTestState(t, testLimits())
	first := holder{session: "a", subject: "x", max: time.Minute}
	if err := s.claimFor(first); err != nil {
		t.Fatal(err)
	}
	was := s.snapshot()
	clock.pass(10 * time.Second)
	if err := s.claimFor(holder{session: "a", subject: "y", max: time.Hour, last: true}); err != nil {
		t.Fatalf("the same session again: %v", err)
	}
	if now := s.snapshot(); !reflect.DeepEqual(now, was) {
		t.Errorf("the repeated claim made %+v of %+v", now, was)
	}
	if err := s.claim("b"); !errors.Is(err, errBusy) {
		t.Errorf("another session: %v", err)
	}
	clock.pass(5*time.Second - 1)
	wantState(t, s, wire.SeatClaimed, "a")
	clock.pass(1) // the lease is that of the first claim
	wantState(t, s, wire.SeatIdle, "")
	if want := []wire.SeatState{wire.SeatIdle, wire.SeatClaimed, wire.SeatIdle}; !slices.Equal(states(), want) {
		t.Errorf("went through %v, want %v", states(), want)
	}
}

// In every state but claimed, the session of which the seat was takes it no more.
func TestClaimAgainRefused(t *testing.T) {
	for name, then := range map[string]func(s *stateMachine, clock *fakeClock){
		"idle after its lease":       func(_ *stateMachine, clock *fakeClock) { clock.pass(15 * time.Second) },
		"idle after a bad offer":     func(s *stateMachine, _ *fakeClock) { s.releaseClaim("a") },
		"claimed by another session": func(s *stateMachine, _ *fakeClock) { s.releaseClaim("a"); _ = s.claim("b") },
		"streaming":                  func(s *stateMachine, _ *fakeClock) { s.connected("a") },
		"detached":                   func(s *stateMachine, _ *fakeClock) { s.connected("a"); s.lost("a") },
		"ending":                     func(s *stateMachine, _ *fakeClock) { s.endWith(wire.End{Reason: wire.ReasonDrained}) },
		"ended by its person":        func(s *stateMachine, _ *fakeClock) { _ = s.endSession("a", wire.End{Reason: wire.ReasonLeft}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, clock, _ := newTestState(t, testLimits())
			_ = s.claim("a")
			s.attached("a", 0)
			then(s, clock)
			before := s.snapshot()
			if err := s.claimFor(holder{session: "a", try: 100}); !errors.Is(err, errUsed) {
				t.Errorf("the session again: %v", err)
			}
			if now := s.snapshot(); !reflect.DeepEqual(now, before) {
				t.Errorf("it made %+v of %+v", now, before)
			}
		})
	}
}

// A claim that comes late does not count any more: the ticket may be used for another seat.
func TestClaimThatComesLate(t *testing.T) {
	s, _, _ := newTestState(t, testLimits())
	_ = s.claim("b")
	if err := s.claimFor(holder{session: "a", try: 7}); !errors.Is(err, errBusy) {
		t.Fatalf("claim of a seat that another session has: %v", err)
	}
	s.releaseClaim("b")
	if err := s.claimFor(holder{session: "a", try: 6}); !errors.Is(err, errBusy) {
		t.Errorf("an earlier claim of a session that was refused: %v", err)
	}
	wantState(t, s, wire.SeatIdle, "")
	if err := s.claimFor(holder{session: "a", try: 7}); err != nil {
		t.Errorf("the same claim: %v", err)
	}
	if err := s.claimFor(holder{session: "a", try: 6}); !errors.Is(err, errBusy) {
		t.Errorf("an earlier claim of the session that has the seat: %v", err)
	}
	wantState(t, s, wire.SeatClaimed, "a")
}

// A claim whose grant arrives nowhere did not happen, unless another one of the session did.
func TestGrantThatArrivesNowhere(t *testing.T) {
	s, _, _ := newTestState(t, testLimits())
	_ = s.claimFor(holder{session: "a", last: true})
	s.unattached("b") // does not hold the seat
	wantState(t, s, wire.SeatClaimed, "a")
	s.unattached("a")
	wantState(t, s, wire.SeatIdle, "") // although the app may serve nobody else: it was told nothing
	if err := s.claim("a"); err != nil {
		t.Fatalf("the same session again: %v", err)
	}
	if err := s.claim("a"); err != nil {
		t.Fatal(err)
	}
	s.unattached("a") // the first one's
	wantState(t, s, wire.SeatClaimed, "a")
	if first, late := s.attached("a", 0); !first || late {
		t.Error("the second claim's attachment is not the first one")
	}
	_ = s.claim("a")
	s.unattached("a")
	wantState(t, s, wire.SeatClaimed, "a")
	_ = s.claim("a")
	if first, late := s.attached("a", 0); first || late {
		t.Error("the session has two first attachments")
	}

	// A claim was slow, and the next one's attachment is there already.
	s, _, _ = newTestState(t, testLimits())
	_ = s.claimFor(holder{session: "a", try: 1})
	_ = s.claimFor(holder{session: "a", try: 2})
	if first, late := s.attached("a", 2); !first || late {
		t.Errorf("the second claim: first %v, late %v", first, late)
	}
	if first, late := s.attached("a", 1); first || !late {
		t.Errorf("the first claim, later: first %v, late %v", first, late)
	}
}

// The brain that claimed dies, and another one repeats the claim.
func TestSeatIsClaimedAgain(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.StartOnClaim = true }).idle()
	token := r.ticket(ticket.NewSession(), "viewer")
	one, _, _ := r.attach(token)
	if one == nil {
		t.Fatal("the ticket was refused")
	}
	grant := *r.expect(one, wire.MsgGranted).Grant
	two, status, _ := r.attach(token)
	if two == nil {
		t.Fatalf("the same ticket again: %d", status)
	}
	if again := *r.expect(two, wire.MsgGranted).Grant; !reflect.DeepEqual(again, grant) {
		t.Errorf("granted %+v, and before %+v", again, grant)
	}
	r.expectClose(one, wire.CloseReplaced)
	if _, status, _ := r.attach(r.ticket(ticket.NewSession(), "viewer")); status != http.StatusConflict {
		t.Errorf("another ticket: %d", status)
	}
	r.send(two, wire.Message{Type: wire.MsgOffer, SDP: "offer-1"})
	peer := <-r.peers
	r.expect(two, wire.MsgAnswer)
	peer.OnState(PeerConnected)
	r.waitState(wire.SeatStreaming)
	if _, status, _ := r.attach(token); status != http.StatusForbidden {
		t.Errorf("the ticket of a session that streams: %d", status)
	}
	r.wait("the app's parameters", func() bool { return r.told.Load() != nil && r.started.Load() != nil })
	r.send(two, wire.Message{Type: wire.MsgLeave})
	r.expect(two, wire.MsgEnded)
	r.waitEnd()
}

// Many brains claim at once, with one ticket and with others. One session has the seat, and
// one attachment is left to it. Its app is told its parameters once.
func TestClaimsOfOneTicketRace(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.StartOnClaim = true }).idle()
	token := r.ticket(ticket.NewSession(), "viewer")
	first, _, _ := r.attach(token)
	r.expect(first, wire.MsgGranted)
	var refused, replaced, ended atomic.Int64
	var wait, reading sync.WaitGroup
	read := func(conn *websocket.Conn) {
		for {
			m, err := r.read(conn)
			switch {
			case websocket.CloseStatus(err) == wire.CloseReplaced:
				replaced.Add(1)
			case err == nil && m.Type == wire.MsgEnded:
				ended.Add(1)
			case err == nil:
				continue
			}
			return
		}
	}
	reading.Go(func() { read(first) })
	for range 8 {
		wait.Go(func() {
			conn, status, _ := r.attach(token)
			if conn == nil {
				t.Errorf("the session's own ticket: %d", status)
				return
			}
			reading.Go(func() { read(conn) })
		})
		other := r.ticket(ticket.NewSession(), "viewer")
		wait.Go(func() {
			if _, status, _ := r.attach(other); status == http.StatusConflict {
				refused.Add(1)
			}
		})
	}
	wait.Wait()
	if refused.Load() != 8 {
		t.Errorf("%d of 8 other tickets were refused", refused.Load())
	}
	r.wait("one attachment is left", func() bool { return replaced.Load() == 8 })
	r.wait("the app", func() bool { return r.app.count("started") > 0 })
	r.stop()
	reading.Wait()
	if replaced.Load() != 8 || ended.Load() != 1 {
		t.Errorf("%d attachments were replaced, and %d were told of the end", replaced.Load(), ended.Load())
	}
	r.waitEnd()
	if n := r.app.count("started"); n != 1 {
		t.Errorf("the app was started %d times", n)
	}
}
