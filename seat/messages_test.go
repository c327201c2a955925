package seat

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/messages"
)

// realBox is a messages.Box, as cmd/stream-host passes it.
type realBox struct{ *messages.Box }

func (b realBox) Page(tell func(message []byte, text bool)) MessagesPage { return b.Box.Page(tell) }

// appURL is where the app of the rig's seat connects.
func (r *rig) appURL() string {
	r.t.Helper()
	r.wait("messages", func() bool { return r.box.Load() != nil })
	return strings.TrimPrefix(r.box.Load().Env()[0], wire.MessagesEnv+"=")
}

func (r *rig) ask(what string) {
	r.t.Helper()
	resp, err := http.Post("http"+strings.TrimPrefix(r.appURL(), "ws")+what, "", nil)
	testkit.Must(r.t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		r.t.Fatalf("POST %s: %s", what, resp.Status)
	}
}

func (r *rig) appSends(m string) {
	r.t.Helper()
	conn, _, err := websocket.Dial(testkit.Context(r.t, time.Minute), r.appURL(), nil)
	testkit.Must(r.t, err)
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	testkit.Must(r.t, conn.Write(r.t.Context(), websocket.MessageText, []byte(m)))
	conn.CloseRead(r.t.Context())
	testkit.Must(r.t, conn.Ping(r.t.Context()))
}

// told reports whether a peer's page was told this on its channel of messages.
func told(p *fakePeer, m string) func() bool {
	return func() bool { return p.count("message "+m) > 0 }
}

const hello, firstHead = `{"t":"hello","page":"p"}`, `{"t":"message","seq":1,"size":7}`

// What the app says before there is a person comes to the first one, not before Play, and by
// the channel of the page that holds the seat.
func TestMessagesWaitForPlay(t *testing.T) {
	r := newRig(t).idle()
	r.appSends(`"early"`)
	conn, p := r.prepare(r.ticket(ticket.NewSession(), "viewer"))
	p.OnMessage([]byte(hello), true)
	if told(p, firstHead)() || told(p, `{"t":"hello"}`)() {
		t.Error("page and app spoke before Play")
	}
	r.send(conn, wire.Message{Type: wire.MsgPlay})
	r.expect(conn, wire.MsgGranted)
	r.waitState(wire.SeatStreaming)
	p.OnMessage([]byte(hello), true)
	r.wait("the message", told(p, firstHead))
	r.wait("its bytes", told(p, `"early"`))
	p.OnMessage([]byte("bytes of nothing"), false)
	r.wait("the end of the channel", func() bool { return p.count("end messages") == 1 })
	if state := r.waitState(wire.SeatStreaming); state.Session == "" {
		t.Error("the session is lost with its channel of messages")
	}
}

// A channel that has ended has no page: nobody waits for it to take anything.
func TestMessagesEnd(t *testing.T) {
	r := newRig(t).idle()
	_, p, _ := r.play()
	p.OnMessage([]byte(hello), true)
	r.wait("the answer", told(p, `{"t":"hello"}`))
	p.OnMessagesEnd()
	p.OnMessage([]byte(`{"t":"ack"}`), true)
	r.wait("the end of the channel", func() bool { return p.count("end messages") == 1 })
}

// An app that says when it is ready is not idle before.
func TestReadyByApp(t *testing.T) {
	r := newRigWith(t, func(r *rig) {
		r.spec.ReadyByApp = true
		<-r.display.window // there is none
	})
	r.wait("the start of the app", func() bool { return r.seats.last().Progress.Phase == wire.PhaseApp })
	if state := r.seats.last().State; state != wire.SeatStarting {
		t.Errorf("the seat is %s before its app is ready", state)
	}
	r.ask(wire.ReadyPath)
	r.idle()

	late := newRigWith(t, func(r *rig) { r.spec.ReadyByApp, r.spec.StartTimeoutS = true, 1 })
	if end := late.waitEnd(); end.Code != wire.CodeAppNotReady || !strings.Contains(end.Detail, "start_timeout") {
		t.Errorf("an app that is never ready ends with %v", end)
	}
}

// The app ends the session, and its page has what was sent before.
func TestAppQuits(t *testing.T) {
	r := newRig(t).idle()
	conn, p, _ := r.play()
	p.OnMessage([]byte(hello), true)
	r.appSends(`"score"`)
	r.wait("the message", told(p, firstHead))
	r.ask(wire.QuitPath)
	p.OnMessage([]byte(`{"t":"ack","seq":1,"chunks":1}`), true)
	if end := r.expect(conn, wire.MsgEnded).End; end.Reason != wire.ReasonAppExited || end.ExitCode != 0 {
		t.Errorf("ended by %v", end)
	}
	if end := r.waitEnd(); end.Failed() {
		t.Errorf("the seat failed: %v", end)
	}
}
