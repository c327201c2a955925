package seat

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestSession(t *testing.T) {
	r := newRig(t).idle()
	if r.app.count("freeze") != 1 || r.video.count("pause") != 1 {
		t.Error("the idle seat is not frozen, or its capture is not paused")
	}
	conn, peer, grant := r.play()
	if grant.App != "viewer" || grant.Seat != "alloc-1" || grant.Resumed || grant.GraceS != 10 || grant.Display != r.spec.Display {
		t.Errorf("grant is %+v", grant)
	}
	// The brain reads the seat from the token without the secret.
	var claims struct {
		jwt.RegisteredClaims
		SID  string `json:"sid"`
		Seat string `json:"seat"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(grant.Resume, &claims); err != nil || claims.Seat != "alloc-1" || claims.SID != grant.Session {
		t.Errorf("resume token says %+v, %v", claims, err)
	}
	r.wait("thaw and keyframe", func() bool {
		return r.app.count("thaw") == 1 && r.video.count("resume") == 1 && r.video.count("keyframe") > 0
	})

	r.video.frame(Frame{})
	peer.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyA", Pressed: true})
	if peer.count("video") != 1 || r.input.count("apply KeyA") != 1 {
		t.Error("picture or input does not pass")
	}
	r.send(conn, wire.Message{Type: wire.MsgCandidate, Candidate: json.RawMessage(`{"candidate":"x"}`)})
	r.wait("candidate to the peer", func() bool { return peer.count(`candidate {"candidate":"x"}`) == 1 })
	peer.OnCandidate(json.RawMessage(`{"candidate":"y"}`))
	if m := r.expect(conn, wire.MsgCandidate); string(m.Candidate) != `{"candidate":"y"}` {
		t.Errorf("candidate is %s", m.Candidate)
	}

	r.send(conn, wire.Message{Type: wire.MsgLeave})
	if m := r.expect(conn, wire.MsgEnded); m.End == nil || m.End.Reason != wire.ReasonLeft {
		t.Errorf("ended by %+v", m.End)
	}
	r.expectClose(conn, wire.CloseEnded)
	if end := r.waitEnd(); end.Reason != wire.ReasonLeft {
		t.Errorf("ended by %v", end)
	}
	if exit := r.exit(); exit.End.Reason != wire.ReasonLeft || exit.Nonce != "n0nce" {
		t.Errorf("exit is %+v", exit)
	}
	for what, n := range map[string]int{
		"peer": peer.count("close"), "video": r.video.count("close"), "input": r.input.count("close"),
		"app": r.app.count("stop"), "display": r.display.count("close"),
	} {
		if n != 1 {
			t.Errorf("%s was closed %d times", what, n)
		}
	}
	r.wait("the driver hears that the seat is gone", r.seats.gone)
	if r.seats.last().State != wire.SeatEnding {
		t.Errorf("the last record: %s", r.seats.last().State)
	}
}

func TestOneOfManyClaimsIsGranted(t *testing.T) {
	r := newRig(t).idle()
	var granted, refused atomic.Int64
	var wait sync.WaitGroup
	start := make(chan struct{})
	for range 50 {
		token := r.ticket(ticket.NewSession(), "viewer")
		wait.Go(func() {
			<-start
			switch _, status, _ := r.attach(token); status {
			case http.StatusSwitchingProtocols:
				granted.Add(1)
			case http.StatusConflict:
				refused.Add(1)
			default:
				t.Errorf("status %d", status)
			}
		})
	}
	close(start)
	wait.Wait()
	if granted.Load() != 1 || refused.Load() != 49 {
		t.Errorf("granted %d, refused %d", granted.Load(), refused.Load())
	}
}

func TestAttachRefused(t *testing.T) {
	r := newRig(t).idle()
	good := r.ticket(ticket.NewSession(), "viewer")
	other := newResumeTokens("alloc-1", "viewer")
	foreign, err := other.sign(ticket.NewSession())
	if err != nil {
		t.Fatal(err)
	}
	none := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": ticket.NewSession(), "app": "viewer"})
	unsigned, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"garbage":                {"garbage", http.StatusUnauthorized},
		"changed ticket":         {good[:len(good)-10] + "AAAAAAAAAA", http.StatusUnauthorized},
		"unsigned ticket":        {unsigned, http.StatusUnauthorized},
		"another seat's session": {foreign, http.StatusUnauthorized},
		"another app":            {r.ticket(ticket.NewSession(), "game"), http.StatusForbidden},
	} {
		_, status, problem := r.attach(c.token)
		if status != c.status {
			t.Errorf("%s: %d, want %d", name, status, c.status)
		}
		if raw, _ := json.Marshal(problem); strings.Contains(string(raw), c.token) {
			t.Errorf("%s: the answer quotes the token", name)
		}
	}
	if state := r.seats.last().State; state != wire.SeatIdle {
		t.Errorf("after the refusals the seat is %s", state)
	}
	if conn, _, _ := r.attach(good); conn == nil {
		t.Fatal("the good ticket was refused")
	}
	if _, status, _ := r.attach(r.ticket(ticket.NewSession(), "viewer")); status != http.StatusConflict {
		t.Errorf("another ticket: %d", status)
	}
}

// The brain dies and the stream goes on. The page returns through another brain.
func TestResume(t *testing.T) {
	r := newRig(t).idle()
	conn, peer, grant := r.play()
	_ = conn.CloseNow()
	peer.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyB"})
	if state := r.seats.last().State; state != wire.SeatStreaming || r.input.count("apply KeyB") != 1 {
		t.Fatalf("without its brain the seat is %s", state)
	}

	second, status, _ := r.attach(grant.Resume)
	if second == nil {
		t.Fatalf("resume: %d", status)
	}
	if g := r.expect(second, wire.MsgGranted).Grant; !g.Resumed || g.Session != grant.Session {
		t.Errorf("grant is %+v", g)
	}
	third, _, _ := r.attach(grant.Resume)
	r.expect(third, wire.MsgGranted)
	r.expectClose(second, wire.CloseReplaced)
	if peer.count("close") != 0 {
		t.Error("attaching again closed the peer")
	}

	// A new offer replaces the peer; the app is the same one.
	r.send(third, wire.Message{Type: wire.MsgOffer, SDP: "offer-2"})
	next := <-r.peers
	r.expect(third, wire.MsgAnswer)
	r.wait("the old peer's end", func() bool { return peer.count("close") == 1 })
	r.waitState(wire.SeatDetached)
	keyframes := r.video.count("keyframe")
	next.OnState(PeerConnected)
	r.waitState(wire.SeatStreaming)
	if r.video.count("keyframe") <= keyframes {
		t.Error("a new peer gets no keyframe")
	}
	peer.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyC"})
	if r.input.count("apply KeyC") != 0 {
		t.Error("input of the replaced peer was applied")
	}
	r.send(third, wire.Message{Type: wire.MsgLeave})
	r.expect(third, wire.MsgEnded)
	r.waitEnd()
}

func TestDetached(t *testing.T) {
	r := newRig(t).idle()
	conn, peer, _ := r.play()
	pauses := r.video.count("pause")
	peer.OnState(PeerDisconnected)
	r.waitState(wire.SeatDetached)
	r.wait("input released and capture paused", func() bool {
		return r.input.count("release") > 0 && r.video.count("pause") == pauses+1
	})
	if r.app.count("freeze") != 1 {
		t.Error("the app of a detached session is frozen")
	}
	peer.OnInput(wire.Input{Type: wire.InputKey, Code: "KeyD"})
	if r.input.count("apply KeyD") != 0 {
		t.Error("input of a lost browser was applied")
	}
	peer.OnState(PeerConnected)
	r.waitState(wire.SeatStreaming)
	r.wait("capture goes on", func() bool { return r.video.count("resume") == 2 })
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.waitEnd()
}

func TestBadOffer(t *testing.T) {
	r := newRig(t).idle()
	conn, _, _ := r.attach(r.ticket(ticket.NewSession(), "viewer"))
	r.expect(conn, wire.MsgGranted)
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "bad"})
	if m := r.expect(conn, wire.MsgRefused); m.Problem == nil || m.Problem.Status != http.StatusUnprocessableEntity {
		t.Errorf("refused by %+v", m.Problem)
	}
	r.expectClose(conn, wire.CloseRefused)
	r.waitState(wire.SeatIdle)
	if refused := <-r.peers; refused.count("close") != 1 {
		t.Error("the refused peer is still open")
	}
	// The next session finds nothing of the first one.
	r.wait("frozen again", func() bool { return r.app.count("freeze") == 2 })
	_, _, grant := r.play()
	if grant.Resumed {
		t.Error("the next session is a resumed one")
	}
}

// A waiting person claims a seat as soon as it is idle. A slow display delays
// what the seat does when it becomes idle. None of it may close their peer.
func TestClaimedWhileItBecomesIdle(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		t.Run(fmt.Sprintf("streaming %v", streaming), func(t *testing.T) {
			hold := make(chan struct{})
			goOn := sync.OnceFunc(func() { close(hold) })
			r := newRigWith(t, func(r *rig) { r.input.hold.Store(&hold) })
			t.Cleanup(goOn) // before the rig waits for the seat's end
			r.idle()
			r.wait("the seat releases what is held", func() bool { return r.input.count("release") == 1 })

			conn, _, _ := r.attach(r.ticket(ticket.NewSession(), "viewer"))
			r.expect(conn, wire.MsgGranted)
			r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-1"})
			peer := <-r.peers
			r.expect(conn, wire.MsgAnswer)
			if streaming {
				peer.OnState(PeerConnected)
			}
			resumed := r.video.count("resume")
			goOn()
			r.wait("capture goes on", func() bool { return r.video.count("resume") == resumed+1 })
			if !streaming {
				peer.OnState(PeerConnected)
			}
			r.waitState(wire.SeatStreaming)
			r.video.frame(Frame{})
			if peer.count("close") != 0 || peer.count("video") != 1 {
				t.Errorf("the peer was closed %d times and got %d pictures", peer.count("close"), peer.count("video"))
			}
			r.send(conn, wire.Message{Type: wire.MsgLeave})
			if m := r.expect(conn, wire.MsgEnded); m.End.Reason != wire.ReasonLeft {
				t.Errorf("ended by %v", m.End)
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	r := newRig(t).idle()
	conn, _, grant := r.play()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("{not json")); err != nil {
		t.Fatal(err)
	}
	r.expectClose(conn, websocket.StatusUnsupportedData)
	again, _, _ := r.attach(grant.Resume)
	r.expect(again, wire.MsgGranted)
	r.send(again, wire.Message{Type: "surprise"})
	if err := again.Write(t.Context(), websocket.MessageText, make([]byte, wire.MaxMessage+1)); err != nil {
		t.Fatal(err)
	}
	r.expectClose(again, websocket.StatusMessageTooBig)
	if state := r.seats.last().State; state != wire.SeatStreaming {
		t.Errorf("bad messages made the seat %s", state)
	}
}

func TestEndAndRetire(t *testing.T) {
	r := newRig(t).idle()
	conn, _, grant := r.play()
	for want, req := range map[int]wire.CheckRequest{
		http.StatusNoContent:    {Session: grant.Session, Resume: grant.Resume},
		http.StatusUnauthorized: {Session: ticket.NewSession(), Resume: grant.Resume},
	} {
		if got := r.post(wire.CheckPath, req); got != want {
			t.Errorf("check of a resume token: %d, want %d", got, want)
		}
	}
	if got := r.post(wire.CheckPath, wire.CheckRequest{Session: grant.Session, Resume: grant.Resume + "x"}); got != http.StatusUnauthorized {
		t.Errorf("check of a forged resume token: %d", got)
	}
	if got := r.post(wire.RetirePath, struct{}{}); got != http.StatusConflict {
		t.Errorf("retire of a busy seat: %d", got)
	}
	soon := wire.Ending{Reason: wire.ReasonTimeLimit, AfterS: 60}
	for want, req := range map[int]wire.WarnRequest{
		http.StatusForbidden:           {Session: ticket.NewSession(), Ending: soon},
		http.StatusUnprocessableEntity: {Session: grant.Session, Ending: wire.Ending{Reason: "bored", AfterS: 60}},
		http.StatusNoContent:           {Session: grant.Session, Ending: soon},
	} {
		if got := r.post(wire.WarnPath, req); got != want {
			t.Errorf("warning of %+v: %d, want %d", req, got, want)
		}
	}
	if m := r.expect(conn, wire.MsgEnding); *m.Ending != soon {
		t.Errorf("told %+v, want %+v", m.Ending, soon)
	}
	if got := r.post(wire.EndPath, wire.EndRequest{Session: ticket.NewSession(), Reason: wire.ReasonLeft}); got != http.StatusForbidden {
		t.Errorf("end of a session that does not hold the seat: %d", got)
	}
	if got := r.post(wire.EndPath, map[string]string{"sesion": grant.Session}); got != http.StatusBadRequest {
		t.Errorf("end with an unknown field: %d", got)
	}
	if got := r.post(wire.EndPath, wire.EndRequest{Session: grant.Session, Reason: "bored"}); got != http.StatusUnprocessableEntity {
		t.Errorf("end with an unknown reason: %d", got)
	}
	if got := r.post(wire.EndPath, wire.EndRequest{Session: grant.Session, Reason: wire.ReasonDrained}); got != http.StatusNoContent {
		t.Errorf("end: %d", got)
	}
	if m := r.expect(conn, wire.MsgEnded); m.End.Reason != wire.ReasonDrained {
		t.Errorf("ended by %v", m.End)
	}
	r.waitEnd()

	idle := newRig(t).idle()
	if got := idle.post(wire.RetirePath, struct{}{}); got != http.StatusNoContent {
		t.Errorf("retire: %d", got)
	}
	if end := idle.waitEnd(); end.Reason != wire.ReasonRetired {
		t.Errorf("ended by %v", end)
	}
}

// A seat ends that fetches what nobody needs any more, and its fetch with it.
func TestRetireWhileFetching(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.spec.Content = []wire.Content{{Source: "s3://models/big", Destination: "m"}}
		r.failure["content"] = errSlow
	})
	r.wait("the seat fetches", func() bool { return r.seats.last().Progress.Detail != "" })
	r.address = r.seats.last().Address
	if got := r.post(wire.RetirePath, wire.RetireRequest{}); got != http.StatusConflict {
		t.Errorf("retire of a seat that is not idle: %d", got)
	}
	if got := r.post(wire.RetirePath, wire.RetireRequest{Fetching: true}); got != http.StatusNoContent {
		t.Errorf("retire: %d", got)
	}
	if end := r.waitEnd(); end.Reason != wire.ReasonRetired || end.Failed() {
		t.Errorf("ended by %v", end)
	}

	ready := newRig(t).idle()
	if got := ready.post(wire.RetirePath, wire.RetireRequest{Fetching: true}); got != http.StatusConflict {
		t.Errorf("a seat that is ready: %d", got)
	}
}

// A ticket with a longest duration ends the session, though the job has none.
func TestSessionOfLimitedTicket(t *testing.T) {
	r := newRig(t).idle()
	token, _, err := r.signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: "viewer", Version: 3,
		Sites: []string{"here"}, MaxDuration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	conn, _, _ := r.attach(token)
	if conn == nil {
		t.Fatal("the claim was refused")
	}
	r.expect(conn, wire.MsgGranted)
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer-1"})
	p := <-r.peers
	r.expect(conn, wire.MsgAnswer)
	p.OnState(PeerConnected)
	if m := r.expect(conn, wire.MsgEnded); m.End == nil || m.End.Reason != wire.ReasonTimeLimit {
		t.Errorf("ended by %+v", m.End)
	}
	if end := r.waitEnd(); end.Reason != wire.ReasonTimeLimit {
		t.Errorf("ended by %v", end)
	}
}
