package seat

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func wantPrepared(t *testing.T, s *stateMachine, want bool) {
	t.Helper()
	if now := s.snapshot(); now.State != wire.SeatIdle || now.Session != "" || now.Prepared != want {
		t.Fatalf("the seat is %s of %q, prepared %v; want idle, %v", now.State, now.Session, now.Prepared, want)
	}
}

// A lease ends by itself, and leaves nothing: neither in the record nor against the session.
func TestPreparedSeatFallsBack(t *testing.T) {
	s, clock, states := newTestState(t, testLimits())
	was := s.snapshot()
	if err := s.prepare(holder{session: "a", subject: "x", network: "n", max: time.Minute, last: true}); err != nil {
		t.Fatal(err)
	}
	wantPrepared(t, s, true)
	if now := s.snapshot(); now.Since != was.Since || now.Subject != "" || now.Network != "" {
		t.Errorf("the record names somebody: %+v", now)
	}
	if err := s.checkHolder("a"); !errors.Is(err, errNotHolder) {
		t.Errorf("who has not pressed Play holds the seat: %v", err)
	}
	clock.pass(wire.PrepareFor - 1)
	wantPrepared(t, s, true)
	clock.pass(1)
	wantPrepared(t, s, false)
	if now := s.snapshot(); !reflect.DeepEqual(now, was) {
		t.Errorf("the seat was %+v, and is %+v", was, now)
	}
	if s.play("a") {
		t.Error("Play after the lease began a session")
	}
	if err := s.claim("a"); err != nil {
		t.Errorf("the session cannot claim what it did not use: %v", err)
	}
	s.releaseClaim("a")
	if want := []wire.SeatState{wire.SeatIdle, wire.SeatClaimed, wire.SeatIdle}; !slices.Equal(slices.Compact(states()), want) {
		t.Errorf("went through %v, want %v", states(), want)
	}
}

// Who presses Play in time has the seat as if they had claimed it then.
func TestPreparedSeatIsPlayed(t *testing.T) {
	s, clock, _ := newTestState(t, testLimits())
	_ = s.prepare(holder{session: "a", subject: "x", network: "n", max: time.Minute, try: 7})
	clock.pass(4 * time.Second)
	if s.play("b") {
		t.Error("another session played")
	}
	if !s.play("a") || s.play("a") {
		t.Error("the session did not begin once")
	}
	wantState(t, s, wire.SeatClaimed, "a")
	if now := s.snapshot(); now.Prepared || now.Subject != "x" || now.Network != "n" || now.Until != clock.Now().Add(time.Minute).UTC() {
		t.Errorf("the record is %+v", now)
	}
	s.unprepare("a") // its attachment ends, say
	wantState(t, s, wire.SeatClaimed, "a")
	s.connected("a")
	clock.pass(10 * time.Second)
	wantState(t, s, wire.SeatStreaming, "a")
	if err := s.claimFor(holder{session: "a", try: 8}); !errors.Is(err, errUsed) {
		t.Errorf("the ticket began another session: %v", err)
	}
}

// Who waits for a seat comes before those who may press Play, and those do not take one
// another's.
func TestPreparedSeatIsTaken(t *testing.T) {
	s, clock, _ := newTestState(t, testLimits())
	_ = s.prepare(holder{session: "a", last: true})
	if err := s.prepare(holder{session: "b"}); !errors.Is(err, errBusy) {
		t.Errorf("a second lease: %v", err)
	}
	if err := s.prepare(holder{session: "a"}); !errors.Is(err, errBusy) {
		t.Errorf("the lease anew: %v", err)
	}
	if err := s.claim("c"); err != nil {
		t.Fatalf("a claim: %v", err)
	}
	if s.play("a") || s.checkReach("a") == nil {
		t.Error("the seat has two sessions")
	}
	s.unprepare("a")
	clock.pass(wire.PrepareFor)
	wantState(t, s, wire.SeatClaimed, "c")
	s.unattached("c")
	wantPrepared(t, s, false)
	_ = s.prepare(holder{session: "d"})
	if err := s.retire(); err != nil {
		t.Errorf("an idle seat that is not wanted any more: %v", err)
	}
	if s.play("d") || s.checkReach("d") == nil {
		t.Error("a session began at a seat that ends")
	}
}

// prepare has the seat prepared and its browser connected, for a new session.
func (r *rig) prepare(token string) (*websocket.Conn, *fakePeer) {
	r.t.Helper()
	conn, status, problem := r.attachBy(wire.PreparePath, token)
	if conn == nil {
		r.t.Fatalf("prepare: %d %+v", status, problem)
	}
	if grant := r.expect(conn, wire.MsgGranted).Grant; !grant.Prepared {
		r.t.Fatalf("granted %+v", grant)
	}
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-1", View: &wire.View{Width: 800, Height: 600, Scale: 1}})
	p := <-r.peers
	r.expect(conn, wire.MsgAnswer)
	p.OnBitrate(1_000_000)
	p.OnState(PeerConnected)
	r.wait("prepared", func() bool { return r.seats.last().Prepared })
	return conn, p
}

// hands are what a page may send by its peer.
func (r *rig) hands(p *fakePeer) {
	p.OnInput(wire.Input{Type: wire.InputCursor, Pressed: true})
	p.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyA", Pressed: true})
	p.OnInput(wire.Input{Type: wire.InputView, View: &wire.View{Width: 700, Height: 500, Scale: 1}})
	r.video.frame(Frame{Keyframe: true})
	r.video.cursor(Cursor{Hidden: true})
}

// touched are the calls by which an app, or who looks at its pictures, would learn of a person.
func (r *rig) touched(p *fakePeer) (traces int) {
	for _, one := range []struct {
		calls *calls
		name  string
	}{{&r.video.calls, "resume"}, {&r.video.calls, "bitrate"}, {&r.input.calls, "apply KeyA"}, {&p.calls, "video"},
		{&r.display.calls, "view 800x600 1"}, {&r.display.calls, "view 700x500 1"}} {
		traces += one.calls.count(one.name)
	}
	if r.told.Load() != nil {
		traces++
	}
	return traces
}

func followsTheWindow(r *rig) {
	r.spec.Params = someParams
	r.spec.Display.MinWidth, r.spec.Display.MinHeight, r.spec.Display.MaxWidth, r.spec.Display.MaxHeight = 100, 100, 2000, 2000
}

// Before Play the connection is there and nothing else. With Play the stream that is there goes on.
func TestPrepareAndPlay(t *testing.T) {
	r := newRigWith(t, followsTheWindow).idle()
	frozen, drawn := r.app.count("freeze"), r.video.count("resume")
	conn, p := r.prepare(r.ticketWith(ticket.NewSession(), "viewer", values{"model": "car"}))
	r.wait("the app runs", func() bool { return r.app.count("thaw") == frozen })
	r.hands(p)
	if n := r.touched(p) - drawn; n != 0 {
		t.Fatalf("%d traces of a person who has not pressed Play", n)
	}
	r.send(conn, wire.Message{Type: wire.MsgPlay})
	if grant := r.expect(conn, wire.MsgGranted).Grant; grant.Prepared || grant.Resume == "" {
		t.Errorf("granted %+v", grant)
	}
	if seat := r.waitState(wire.SeatStreaming); seat.Prepared || seat.Session == "" {
		t.Errorf("the record is %+v", seat)
	}
	r.wait("the capture goes on", func() bool { return r.video.count("resume") == drawn+1 })
	if r.video.count("bitrate") != 1 {
		t.Error("the encoder does not have the bitrate of the line")
	}
	r.wait("the window", func() bool { return r.display.count("view 800x600 1") == 1 })
	r.wait("the parameters", func() bool { return r.told.Load() != nil && (*r.told.Load())["model"] == "car" })
	r.hands(p)
	if p.count("video") != 1 || r.input.count("apply KeyA") != 1 || p.count("close") != 0 {
		t.Error("picture and input do not flow")
	}
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.expect(conn, wire.MsgEnded)
	if end := r.waitEnd(); end.Reason != wire.ReasonLeft {
		t.Errorf("ended by %v", end)
	}
}

// A seat for which nobody pressed Play serves the next person without a restart.
func TestPrepareWithoutPlay(t *testing.T) {
	for name, leave := range map[string]func(r *rig, conn *websocket.Conn, p *fakePeer){
		"the page goes":    func(_ *rig, conn *websocket.Conn, _ *fakePeer) { _ = conn.CloseNow() },
		"the page says so": func(r *rig, conn *websocket.Conn, _ *fakePeer) { r.send(conn, wire.Message{Type: wire.MsgLeave}) },
		"the browser goes": func(_ *rig, _ *websocket.Conn, p *fakePeer) { p.OnState(PeerClosed) },
		"the person waits": func(*rig, *websocket.Conn, *fakePeer) {},
		"the offer is no good": func(r *rig, conn *websocket.Conn, _ *fakePeer) {
			r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "bad"})
			<-r.peers // that could not answer it
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, followsTheWindow).idle()
			drawn := r.video.count("resume")
			r.wait("frozen", func() bool { return r.app.count("freeze") == 1 })
			conn, p := r.prepare(r.ticketWith(ticket.NewSession(), "viewer", values{"model": "car"}))
			r.hands(p)
			leave(r, conn, p)
			r.wait("the lease ends", func() bool { return !r.seats.last().Prepared })
			r.wait("the peer is closed, and the app is frozen", func() bool { return p.count("close") == 1 && r.app.count("freeze") == 2 })
			if n := r.touched(p) - drawn; n != 0 {
				t.Errorf("%d traces of a person who has not pressed Play", n)
			}
			r.waitState(wire.SeatIdle)
			r.play()
		})
	}
}

// A launch takes the seat from those who may press Play. They see nothing of it.
func TestPreparedSeatIsClaimed(t *testing.T) {
	r := newRig(t).idle()
	conn, p := r.prepare(r.ticket(ticket.NewSession(), "viewer"))
	if _, status, _ := r.attachBy(wire.PreparePath, r.ticket(ticket.NewSession(), "viewer")); status != http.StatusConflict {
		t.Errorf("a second lease: %d", status)
	}
	_, other, _ := r.play()
	r.send(conn, wire.Message{Type: wire.MsgPlay})
	for {
		if m, err := r.read(conn); err != nil {
			break
		} else if m.Type == wire.MsgGranted {
			t.Fatal("two people have the seat")
		}
	}
	r.hands(p)
	r.wait("the first peer is closed", func() bool { return p.count("close") == 1 })
	if p.count("video") != 0 || r.input.count("apply KeyA") != 0 || other.count("close") != 0 || other.count("video") != 1 {
		t.Error("the first person sees or touches the session of the second")
	}
}

// An app that is busy when a lease ends without Play is frozen again at once, if it was frozen before: a lease costs
// the seconds that it lasts.
func TestBusyAppIsFrozenAfterALease(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.freeze = FreezePolicy{Quiet: 40 * time.Millisecond, Latest: time.Hour} }).idle()
	r.wait("frozen", func() bool { return r.app.count("freeze") == 1 })
	r.video.stirs.Store(true)
	conn, _ := r.prepare(r.ticket(ticket.NewSession(), "viewer"))
	_ = conn.CloseNow()
	r.wait("frozen again", func() bool { return r.app.count("freeze") == 2 })
}

// An app that starts when its seat is claimed starts with Play.
func TestPrepareBeforeTheAppStarts(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.StartOnClaim = true }).idle()
	conn, _ := r.prepare(r.ticket(ticket.NewSession(), "viewer"))
	if r.started.Load() != nil {
		t.Fatal("the app runs before Play")
	}
	r.send(conn, wire.Message{Type: wire.MsgPlay})
	r.expect(conn, wire.MsgGranted)
	r.wait("the app", func() bool { return r.started.Load() != nil })
	r.waitState(wire.SeatStreaming)
}

// What is refused at a claim is refused before Play.
func TestPrepareRefused(t *testing.T) {
	r := newRigWith(t, followsTheWindow).idle()
	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"another app":  {r.ticket(ticket.NewSession(), "game"), http.StatusForbidden},
		"no ticket":    {"eyJhbGciOiJub25lIn0.e30.", http.StatusUnauthorized},
		"wrong params": {r.ticketWith(ticket.NewSession(), "viewer", values{"model": "NO"}), http.StatusConflict},
	} {
		if _, status, _ := r.attachBy(wire.PreparePath, c.token); status != c.want {
			t.Errorf("%s: %d, want %d", name, status, c.want)
		}
	}
	r.play()
	if _, status, _ := r.attachBy(wire.PreparePath, r.ticket(ticket.NewSession(), "viewer")); status != http.StatusConflict {
		t.Errorf("a seat that is not idle: %d", status)
	}
}
