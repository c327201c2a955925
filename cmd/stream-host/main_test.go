package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/xserver"
)

func TestPlayAndLeave(t *testing.T) { testkit.EachDisplay(t, playAndLeave) }

func playAndLeave(t *testing.T, server wire.XServer) {
	s := newStreamHost(t)
	s.spec.XServer = server
	_, err := exec.LookPath("pulseaudio")
	s.spec.Display.Audio = err == nil
	s.start()
	status := s.waitState(wire.SeatIdle)
	if status.Nonce != s.spec.Nonce || status.PID != s.cmd.Process.Pid || status.AppPID == 0 {
		t.Errorf("status is %+v", status)
	}
	b := s.claim(status.Seat).Connect()
	s.waitState(wire.SeatStreaming)

	before := b.Frames()
	b.Press("KeyA", "a")
	testkit.Until(t, "the key at the app", func() bool {
		return strings.Contains(s.stdout(), `"key_press"`) && strings.Contains(s.stdout(), `"text":"a"`)
	})
	testkit.Until(t, "the picture that follows", func() bool { return b.Frames() > before })

	if s.spec.Display.Audio {
		testkit.Until(t, "sound", func() bool { return b.Sounds() > 10 })
	}

	b.Send(wire.Message{Type: wire.MsgLeave})
	if m := b.Expect(wire.MsgEnded); m.End.Reason != wire.ReasonLeft {
		t.Errorf("ended by %v", m.End)
	}
	if end := s.wantExit(); end.Reason != wire.ReasonLeft {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
	if left, _ := filepath.Glob(s.sub("run/xorg.*")); len(left) > 1 || len(left) == 1 && filepath.Base(left[0]) != xserver.LogFile {
		t.Errorf("left: %q", left)
	}
	log, err := os.ReadFile(filepath.Join(s.spec.RunDir, wire.LogFile))
	testkit.Must(t, err)
	if strings.Contains(string(log), "eyJ") {
		t.Errorf("the log contains a token:\n%s", log)
	}
}

// The browser is lost and returns through another brain. The app is the same, and
// a picture comes at once although nothing moves.
func TestLostAndReturned(t *testing.T) {
	s := newStreamHost(t).start()
	seat := s.waitState(wire.SeatIdle).Seat
	b := s.claim(seat).Connect()
	b.Press("KeyA", "a")
	testkit.Until(t, "the key at the app", func() bool { return strings.Contains(s.stdout(), `"key_press"`) })
	b.Vanish()
	s.waitState(wire.SeatDetached)

	again := person.Attach(t, s.brain, seat, b.Grant.Resume)
	if !again.Grant.Resumed || again.Grant.Session != b.Grant.Session {
		t.Errorf("grant is %+v", again.Grant)
	}
	again.Connect()
	s.waitState(wire.SeatStreaming)
	if n := strings.Count(s.stdout(), `"ready"`); n != 1 {
		t.Errorf("the app started %d times", n)
	}
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	if m := again.Expect(wire.MsgEnded); m.End.Reason != wire.ReasonDrained {
		t.Errorf("ended by %v", m.End)
	}
	if end := s.wantExit(); end.Reason != wire.ReasonDrained {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
}

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*streamHost)
		want   wire.End
	}{
		"command is missing": {func(s *streamHost) { s.spec.Command = "/nowhere/app" }, wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNotFound}},
		"no window": {func(s *streamHost) {
			s.spec.Args = []string{"-no-window"}
			s.spec.StartTimeoutS = 2
		}, wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNoWindow}},
		"exit before the window": {func(s *streamHost) { s.spec.Args = []string{"-no-window", "-exit-after", "10ms", "-exit-code", "3"} },
			wire.End{Reason: wire.ReasonAppExited, ExitCode: 3}},
		"unknown user":    {func(s *streamHost) { s.spec.User = "nobody-at-all" }, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig}},
		"unknown encoder": {func(s *streamHost) { s.spec.Video.Encoder = "pencil" }, wire.End{Reason: wire.ReasonError, Code: wire.CodeEncoder}},
		"content leaves the task directory": {func(s *streamHost) {
			s.spec.Content = []wire.Content{{Source: "s3://models/m", Destination: "../m"}}
			s.spec.Cache.Dir = s.sub("cache")
		}, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStreamHost(t)
			c.change(s)
			s.start()
			end := s.wantExit()
			if end.Reason != c.want.Reason || end.Code != c.want.Code || end.ExitCode != c.want.ExitCode {
				t.Errorf("exit says %v, want %v", end, c.want)
			}
			s.wantNothingLeft(true)
		})
	}
}

// A cell that cannot be made ends the seat for its own reason, though content waits for it.
func TestNoCellForContent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to make a cell needs root")
	}
	s := newStreamHost(t)
	s.spec.Content = []wire.Content{{Source: "s3://models/m", Destination: "m"}}
	s.spec.Cache.Dir = s.sub("cache")
	s.spec.Mounts = []wire.Mount{{Node: "/no/such/volume", Task: "/mnt"}}
	s.start()
	if end := s.wantExit(); end.Code != wire.CodeConfig || !strings.Contains(end.Detail, "/no/such/volume") {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
}

func TestAppExitsInTheSession(t *testing.T) {
	s := newStreamHost(t, "-exit-on-key", "q", "-exit-code", "5").start()
	b := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	b.Press("KeyQ", "q")
	if m := b.Expect(wire.MsgEnded); m.End.Reason != wire.ReasonAppExited || m.End.ExitCode != 5 {
		t.Errorf("ended by %v", m.End)
	}
	if end := s.wantExit(); end.Reason != wire.ReasonAppExited || end.ExitCode != 5 {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
}

func TestTicketLimitsTheSession(t *testing.T) {
	s := newStreamHost(t).start()
	token, _, err := s.signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: s.spec.App, Version: 1,
		Sites: []string{"here"}, MaxDuration: 2 * time.Second})
	testkit.Must(t, err)
	b := person.Attach(t, s.brain, s.waitState(wire.SeatIdle).Seat, token).Connect()
	if m := b.Expect(wire.MsgEnded); m.End.Reason != wire.ReasonTimeLimit {
		t.Errorf("ended by %+v", m.End)
	}
	if end := s.wantExit(); end.Reason != wire.ReasonTimeLimit {
		t.Errorf("exit by %v", end)
	}
}

func TestDisplayDies(t *testing.T) { testkit.EachDisplay(t, displayDies) }

func displayDies(t *testing.T, server wire.XServer) {
	s := newStreamHost(t)
	s.spec.XServer = server
	s.start()
	b := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	pid := 0
	for _, line := range s.processes() {
		if strings.Contains(line, "Xvfb :") || strings.Contains(line, "Xorg :") {
			testkit.Must(t, json.Unmarshal([]byte(strings.Fields(line)[0]), &pid))
		}
	}
	if pid == 0 {
		t.Fatalf("no display server among %q", s.processes())
	}
	testkit.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	if m := b.Expect(wire.MsgEnded); m.End.Code != wire.CodeDisplay {
		t.Errorf("ended by %v", m.End)
	}
	if end := s.wantExit(); end.Code != wire.CodeDisplay {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
}

func TestKilled(t *testing.T) { testkit.EachDisplay(t, killed) }

func killed(t *testing.T, server wire.XServer) {
	s := newStreamHost(t, "-spawn-child")
	s.spec.XServer = server
	if _, err := exec.LookPath("pulseaudio"); err == nil {
		s.spec.Display.Audio = true
	}
	s.start()
	s.waitState(wire.SeatIdle)
	if n := len(s.processes()); n < 3 {
		t.Fatalf("only %q run", s.processes())
	}
	testkit.Must(t, s.cmd.Process.Kill())
	<-s.waited
	s.wantNothingLeft(false)
}

func TestFrozenWhileIdle(t *testing.T) {
	s := newStreamHost(t, "-fps", "30")
	s.spec.FreezeLatestS = 3 // it always paints
	s.start()
	status := s.waitState(wire.SeatIdle)
	testkit.Until(t, "the idle app is frozen", func() bool { return isStopped(status.AppPID) })
	s.claim(status.Seat).Connect()
	if isStopped(status.AppPID) {
		t.Error("the app of a session is frozen")
	}
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.wantExit()
	s.wantNothingLeft(true)
}

// As when the checkout or Nomad's data_dir is in root's home.
func TestBelowClosedDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := newStreamHost(t)
	s.spec.TaskDir = s.sub("closed/alloc/task")
	s.spec.Command = s.sub("closed/bin/testapp")
	testkit.Must(t, os.MkdirAll(s.sub("closed/bin"), 0o755))
	testkit.Must(t, os.MkdirAll(s.spec.TaskDir, 0o755))
	testkit.Must(t, os.Chmod(s.sub("closed"), 0o700))
	raw, err := os.ReadFile(appBinary)
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(s.spec.Command, raw, 0o755))
	_, err = exec.LookPath("pulseaudio")
	s.spec.Display.Audio = err == nil
	s.start()
	b := s.claim(s.waitState(wire.SeatIdle).Seat).Connect()
	testkit.Until(t, "a key at the app", func() bool {
		b.Press("KeyA", "a") // repeated: the window may not have the focus yet
		return strings.Contains(s.stdout(), `"key_press"`)
	})
	if s.spec.Display.Audio {
		testkit.Until(t, "sound", func() bool { return b.Sounds() > 10 })
	}
	b.Send(wire.Message{Type: wire.MsgLeave})
	if end := s.wantExit(); end.Reason != wire.ReasonLeft {
		t.Errorf("exit says %v", end)
	}
	s.wantNothingLeft(true)
}

// An app that still loads when it shows its window must be able to finish.
func TestNotFrozenWhileLoading(t *testing.T) {
	s := newStreamHost(t)
	loaded := s.sub("task/loaded")
	testkit.Must(t, os.Chmod(s.spec.TaskDir, 0o777))
	s.spec.Command, s.spec.Args = "/bin/sh", []string{"-c", appBinary + ` &
		for i in 1 2 3; do timeout 7 sh -c 'while :; do :; done' & loads="$loads $!"; done
		wait $loads; touch ` + loaded + `; wait`}
	s.start()
	status := s.waitState(wire.SeatIdle)
	testkit.Until(t, "the idle app is frozen", func() bool { return isStopped(status.AppPID) })
	// What an app writes is in its cell.
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", status.InitPID, loaded)); err != nil {
		t.Errorf("the app was frozen while it loaded: %v", err)
	}
	testkit.Must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	s.wantExit()
	s.wantNothingLeft(true)
}

func TestFingerprint(t *testing.T) {
	out, err := exec.Command(streamHostBinary, "fingerprint").Output()
	testkit.Must(t, err)
	var p wire.Fingerprint
	testkit.Must(t, json.Unmarshal(out, &p))
	if _, err := exec.LookPath("Xvfb"); err == nil && !strings.HasPrefix(p.Display, "Xvfb") {
		t.Errorf("display is %q, problems %q", p.Display, p.Problems)
	}
	if p.Version != version.String() {
		t.Errorf("version is %q, want %q", p.Version, version.String())
	}
	if len(p.Problems) == 0 && len(p.Encoders) == 0 {
		t.Error("no encoder, and no problem either")
	}
	// Without any program, it says what to install.
	bare := exec.Command(streamHostBinary, "fingerprint")
	bare.Env = []string{"PATH=/nowhere"}
	out, err = bare.Output()
	testkit.Must(t, err)
	p = wire.Fingerprint{}
	testkit.Must(t, json.Unmarshal(out, &p))
	if !strings.Contains(strings.Join(p.Problems, "\n"), "xvfb") || p.Display != "" {
		t.Errorf("without Xvfb: %+v", p)
	}
}

func TestFingerprintOfXorg(t *testing.T) {
	for _, c := range []struct{ choice, display, problem string }{
		{`{"server":"xorg","driver":"dummy"}`, "Xorg ", ""},
		{`{"server":"xorg","driver":"nosuch"}`, "", "apt-get install xserver-xorg-video-nosuch"},
		{`{"server":"wayland"}`, "", "wayland"},
	} {
		testkit.Xorg(t)
		out, err := exec.Command(streamHostBinary, "fingerprint", "--x-server", c.choice).Output()
		testkit.Must(t, err)
		var p wire.Fingerprint
		testkit.Must(t, json.Unmarshal(out, &p))
		if !strings.HasPrefix(p.Display, c.display) || (p.Display == "") != (c.display == "") {
			t.Errorf("%s: display is %q", c.choice, p.Display)
		}
		if said := strings.Join(p.Problems, "\n"); !strings.Contains(said, c.problem) || c.problem == "" && strings.Contains(said, "display") {
			t.Errorf("%s: problems %q", c.choice, p.Problems)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, "exit.json"},
		{nil, 2, "seat-keeper --spec DIR/spec.json"},
		{[]string{"--keeper"}, 2, "seat-keeper"},
		{[]string{"--help"}, 0, "--version"},
		{[]string{"--version"}, 0, "stream-host v"},
		{[]string{"play"}, 2, `unexpected argument "play"; see --help`},
		{[]string{"fingerprint", "--x-server", "xorg"}, 2, "JSON"},
		{[]string{"fingerprint", "xorg"}, 2, `unexpected argument "xorg"`},
	} {
		cmd := exec.Command(streamHostBinary, c.args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: exit %d, want %d; %s", c.args, cmd.ProcessState.ExitCode(), c.code, out)
		}
	}
}
