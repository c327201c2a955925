package seat

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// newRigWith starts a rig that change has changed.
func newRigWith(t *testing.T, change func(*rig)) *rig {
	t.Helper()
	r := buildRig(t)
	change(r)
	r.start(ticket.NewVerifier(r.signer.Public()))
	return r
}

func TestStartFails(t *testing.T) {
	missing := wire.End{Reason: wire.ReasonError, Code: wire.CodeContentMissing, Detail: "s3://models/none is not there"}
	for name, c := range map[string]struct {
		change func(*rig)
		want   wire.End
	}{
		"no content": {func(r *rig) {
			r.spec.Content = []wire.Content{{Source: "s3://models/none", Destination: "m"}}
			r.failure["content"] = missing
		}, missing},
		"content takes too long": {func(r *rig) {
			r.spec.Content = []wire.Content{{Source: "s3://models/big", Destination: "m"}}
			r.spec.ContentTimeoutS = 1
			r.failure["content"] = errSlow
		}, wire.End{Reason: wire.ReasonError, Code: wire.CodeContentTimeout, Detail: "1.0 MB of 5.0 MB arrived within 1s; what arrived is kept for the next seat; raise content_timeout, or fetch less"}},
		"no display": {func(r *rig) { r.failure["display"] = errors.New("no Xvfb") }, wire.End{Reason: wire.ReasonError, Code: wire.CodeDisplay}},
		"no encoder": {func(r *rig) { r.failure["video"] = errors.New("no element") }, wire.End{Reason: wire.ReasonError, Code: wire.CodeEncoder}},
		"no command": {func(r *rig) { r.failure["app"] = &fs.PathError{Op: "exec", Path: "/bin/app", Err: fs.ErrNotExist} }, wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNotFound}},
		"no command to start later": {func(r *rig) {
			r.spec.StartOnClaim = true
			r.failure["command"] = fs.ErrNotExist
		}, wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNotFound}},
		"no window": {func(r *rig) {
			<-r.display.window
			r.spec.StartTimeoutS = 1
		}, wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNoWindow}},
		"exit before the window": {func(r *rig) {
			<-r.display.window
			r.app.code = 3
			close(r.app.done)
		}, wire.End{Reason: wire.ReasonAppExited, ExitCode: 3}},
		"display dies before the window": {func(r *rig) {
			<-r.display.window
			close(r.app.done) // the app dies with the display
			close(r.display.done)
		}, wire.End{Reason: wire.ReasonError, Code: wire.CodeDisplay}},
		"no size":                 {func(r *rig) { r.spec.Display.Width = 0 }, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig}},
		"address of another node": {func(r *rig) { r.spec.Listen.API = "192.0.2.1" }, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, c.change)
			end := r.waitEnd()
			if end.Reason != c.want.Reason || end.Code != c.want.Code || end.ExitCode != c.want.ExitCode {
				t.Fatalf("ended by %v, want %v", end, c.want)
			}
			if c.want.Detail != "" && end.Detail != c.want.Detail {
				t.Errorf("detail is %q, want %q", end.Detail, c.want.Detail)
			}
			if exit := r.exit(); exit.End != end {
				t.Errorf("it reported %v", exit.End)
			}
			if r.failure["display"] == nil && r.failure["content"] == nil && c.want.Code != wire.CodeConfig && r.display.count("close") != 1 {
				t.Error("the display is left")
			}
			if _, err := os.Stat(filepath.Join(r.spec.RunDir, wire.ControlSocket)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the control socket is left: %v", err)
			}
		})
	}
}

func TestSessionEnds(t *testing.T) {
	broken := wire.End{Reason: wire.ReasonError, Code: wire.CodeDiskFailed, Detail: "write content to the disk: input/output error"}
	for name, c := range map[string]struct {
		do   func(*rig)
		want wire.End
	}{
		"app exits":    {func(r *rig) { r.app.code = 7; close(r.app.done) }, wire.End{Reason: wire.ReasonAppExited, ExitCode: 7}},
		"app is ended": {func(r *rig) { r.app.signal = 11; close(r.app.done) }, wire.End{Reason: wire.ReasonAppExited, Signal: 11}},
		"encoder ends": {func(r *rig) { close(r.video.done) }, wire.End{Reason: wire.ReasonError, Code: wire.CodeEncoder, Detail: "encoder broke"}},
		"display dies": {func(r *rig) { close(r.video.done); close(r.app.done); close(r.display.done) }, wire.End{Reason: wire.ReasonError, Code: wire.CodeDisplay, Detail: "server died"}},
		"disk fails":   {func(r *rig) { r.spoilt <- broken }, broken},
		"drained":      {func(r *rig) { r.stop() }, wire.End{Reason: wire.ReasonDrained}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, func(r *rig) { r.spec.Content = []wire.Content{{Source: "s3://models/m", Destination: "m"}} }).idle()
			conn, _, _ := r.play()
			c.do(r)
			if m := r.expect(conn, wire.MsgEnded); *m.End != c.want.Public() {
				t.Errorf("the person is told %v, want %v", m.End, c.want.Public())
			}
			r.expectClose(conn, wire.CloseEnded)
			if end := r.waitEnd(); end != c.want {
				t.Errorf("ended by %v, want %v", end, c.want)
			}
		})
	}
}

// A seat whose first person did not connect is like new for the second.
func TestLeaseExpires(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.LeaseS = 1 }).idle()
	session := ticket.NewSession()
	token := r.ticket(session, "viewer")
	conn, _, _ := r.attach(token)
	first := r.expect(conn, wire.MsgGranted).Grant
	r.send(conn, wire.Message{Type: wire.MsgOffer, SDP: "offer"})
	peer := <-r.peers
	r.expect(conn, wire.MsgAnswer)
	if m := r.expect(conn, wire.MsgEnded); m.End.Reason != wire.ReasonLost {
		t.Errorf("ended by %v", m.End)
	}
	r.expectClose(conn, wire.CloseEnded)
	r.waitState(wire.SeatIdle)
	r.wait("a clean seat", func() bool {
		return peer.count("close") == 1 && r.app.count("freeze") == 2 && r.input.count("release") > 0 && r.video.count("pause") == 2
	})
	if _, status, _ := r.attach(first.Resume); status != http.StatusGone {
		t.Errorf("resume of the expired session: %d", status)
	}
	if _, status, _ := r.attach(token); status != http.StatusForbidden {
		t.Errorf("the expired session's ticket: %d", status)
	}
	peer.OnState(PeerConnected) // too late
	if state := r.seats.last().State; state != wire.SeatIdle {
		t.Errorf("a late browser made the seat %s", state)
	}
	r.play()
}

func TestControlSocket(t *testing.T) {
	r := newRig(t).idle()
	local := r.controlClient()
	resp, err := local.Get("http://seat" + wire.StatusPath)
	if err != nil {
		t.Fatal(err)
	}
	var status wire.StreamHostStatus
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if status.Nonce != "n0nce" || status.PID != 4240 || status.AppPID != 4242 || status.InitPID != 4241 || status.State != wire.SeatIdle || status.Seat.Address != r.address {
		t.Errorf("status is %+v", status)
	}

	events, err := local.Get("http://seat" + wire.EventsPath + "?after=1")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewScanner(events.Body)
	next := func() (e wire.StreamHostEvent) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("no more events: %v", lines.Err())
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := next(); e.Seq != 2 || e.Annotations["phase"] != string(wire.PhaseApp) {
		t.Errorf("after the first event comes %+v", e)
	}
	if e := next(); e.Annotations["state"] != string(wire.SeatIdle) {
		t.Errorf("then %+v", e)
	}

	post := func(path string, body any) int {
		t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := local.Post("http://seat"+path, "application/json", bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := post(wire.SignalPath, wire.SignalRequest{Signal: "SIGHUP"}); got != http.StatusNoContent || r.app.count("signal") != 1 {
		t.Errorf("signal: %d", got)
	}
	if got := post(wire.SignalPath, wire.SignalRequest{Signal: "SIGNOT"}); got != http.StatusUnprocessableEntity {
		t.Errorf("unknown signal: %d", got)
	}
	if got := post(wire.StopPath, wire.StopRequest{Reason: wire.ReasonDrained, Signal: "SIGINT", TimeoutMS: 1234}); got != http.StatusAccepted {
		t.Errorf("stop: %d", got)
	}
	if e := next(); e.Annotations["state"] != string(wire.SeatEnding) {
		t.Errorf("then %+v", e)
	}
	if e := next(); e.Annotations["reason"] != string(wire.ReasonDrained) {
		t.Errorf("last %+v", e)
	}
	if lines.Scan() {
		t.Errorf("after the last event: %s", lines.Text())
	}
	if end := r.waitEnd(); end.Reason != wire.ReasonDrained {
		t.Errorf("ended by %v", end)
	}
	if r.app.stopped.Signal != "SIGINT" || r.app.stopped.TimeoutMS != 1234 {
		t.Errorf("the app was stopped by %+v", r.app.stopped)
	}
}

func TestStopWhileStarting(t *testing.T) {
	r := newRigWith(t, func(r *rig) { <-r.display.window })
	r.wait("the app's start", func() bool { return r.seats.last().Progress.Phase == wire.PhaseApp })
	start := time.Now()
	r.stop()
	if end := r.waitEnd(); end.Reason != wire.ReasonDrained {
		t.Errorf("ended by %v", end)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestReadSpec(t *testing.T) {
	if _, err := ReadSpec(strings.NewReader("{")); err == nil {
		t.Error("a truncated spec was accepted")
	}
	if spec, err := ReadSpec(strings.NewReader(`{"alloc":"a"}`)); err != nil || spec.Alloc != "a" {
		t.Errorf("got %+v, %v", spec, err)
	}
}
