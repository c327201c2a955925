package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Built once for all tests.
var keeperBinary, streamHostBinary, appBinary string

// plugins are the variables that the driver gives to stream hosts, so that they do not
// look for GStreamer's plugins at each start.
var plugins []string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "stream-host-test-")
	if err != nil {
		panic(err)
	}
	// The app's user must be able to run the app.
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	keeperBinary = filepath.Join(dir, "seat-keeper")
	streamHostBinary, appBinary = filepath.Join(dir, "stream-host"), filepath.Join(dir, "testapp")
	for pkg, file := range map[string]string{"cmd/seat-keeper": keeperBinary, "cmd/stream-host": streamHostBinary, "dev/testapp": appBinary, "cmd/nearcast-app": filepath.Join(dir, "nearcast-app"), "seat/gamepad/preload": filepath.Join(dir, "nearcast-gamepad.so")} {
		if err := testkit.Build(context.Background(), pkg, file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := listPlugins(filepath.Join(dir, "plugins")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// listPlugins has GStreamer write its list of plugins, as the driver does at the start
// of a node.
func listPlugins(file string) error {
	plugins = []string{"GST_REGISTRY=" + file}
	cmd := exec.Command(streamHostBinary, "fingerprint")
	cmd.Env = append(os.Environ(), plugins...)
	if out, err := cmd.Output(); err != nil {
		return fmt.Errorf("list GStreamer's plugins: %w: %s", err, out)
	}
	plugins = append(plugins, "GST_REGISTRY_UPDATE=no")
	return os.Chmod(file, 0o644)
}

// streamHost is a stream host as the driver starts it.
type streamHost struct {
	t      *testing.T
	base   string // parent of its directories; in the environment or arguments of every process it starts
	spec   wire.Spec
	signer *ticket.Signer
	brain  *identity.Identity
	cmd    *exec.Cmd
	waited chan struct{}
}

func newStreamHost(t *testing.T, args ...string) *streamHost {
	t.Helper()
	testkit.NeedXvfb(t)
	base := testkit.ShortDir(t)
	s := &streamHost{t: t, base: base, waited: make(chan struct{})}
	for _, dir := range []string{base, s.sub("run"), s.sub("task")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(s.sub("run"), 0o700); err != nil {
		t.Fatal(err)
	}
	private, public := testkit.TicketKeys(t, s.sub("keys"))
	var err error
	s.signer, err = ticket.LoadSigner(private, "test")
	testkit.Must(t, err)
	// No Consul: a seat runs without it, but for who is a brain.
	directory := testkit.StartDirectory(t)
	s.brain = directory.Register(t, wire.BrainService, "edge-1")
	s.spec = wire.Spec{
		Nonce: "nonce-of-" + filepath.Base(base), Alloc: "11111111-2222-3333-4444-555555555555", Task: "seat",
		App: "testapp", Job: "testapp/dispatch-1", Version: 1, Node: "node",
		RunDir: s.sub("run"), TaskDir: s.sub("task"), Stdout: s.sub("stdout"), Stderr: s.sub("stderr"),
		Command: appBinary, Args: args, Env: map[string]string{"PATH": os.Getenv("PATH"), "SEAT": base},
		Network: wire.NetworkNone,
		Display: wire.Display{Width: 320, Height: 240, FPS: 30, Pointer: wire.PointerAbsolute, Gamepads: true},
		Video:   wire.Video{Codec: "h264", Encoder: "auto", BitrateBPS: 1_000_000}, FreezeIdle: true,
		StartTimeoutS: 15, LeaseS: 15, ReconnectGraceS: 15,
		TicketKeys: public, Consul: wire.ConsulRef{Address: directory.Address},
		Listen: wire.Listen{API: "127.0.0.1", Media: "127.0.0.1", Loopback: true},
	}
	s.spec.StreamHost, s.spec.SeatKeeper = streamHostBinary, keeperBinary
	if os.Geteuid() == 0 {
		s.spec.User, s.spec.HostUser, s.spec.Isolate = "2000009998:2000009998", "2000019998:2000019998", true
		s.spec.Cell = wire.Cell{WritableBytes: 64 << 20, MaxProcesses: 512, Paths: []string{filepath.Dir(appBinary)}}
	}
	for _, name := range []string{"stdout", "stderr"} {
		if err := os.WriteFile(s.sub(name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *streamHost) sub(name string) string { return filepath.Join(s.base, name) }

func (s *streamHost) start() *streamHost {
	s.t.Helper()
	raw, err := json.Marshal(s.spec)
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.spec.RunDir, wire.SpecFile)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(keeperBinary, "--spec", path)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s.cmd.Env = append(os.Environ(), "NEARCAST_NONCE="+s.spec.Nonce)
	s.cmd.Env = append(s.cmd.Env, plugins...)
	log, err := os.Create(filepath.Join(s.spec.RunDir, wire.LogFile))
	testkit.Must(s.t, err)
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.waited) }()
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.waited
		if s.t.Failed() {
			for _, file := range []string{"run/" + wire.LogFile, "stdout", "stderr", "run/" + wire.ExitFile} {
				text, _ := os.ReadFile(s.sub(file))
				s.t.Logf("%s:\n%s", file, text)
			}
		}
	})
	return s
}

func (s *streamHost) status() (status wire.StreamHostStatus, err error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.spec.RunDir, wire.ControlSocket))
		},
	}}
	resp, err := client.Get("http://seat" + wire.StatusPath)
	if err != nil {
		return status, err
	}
	defer resp.Body.Close()
	return status, json.NewDecoder(resp.Body).Decode(&status)
}

func (s *streamHost) waitState(state wire.SeatState) wire.StreamHostStatus {
	s.t.Helper()
	var last wire.StreamHostStatus
	testkit.Until(s.t, "state "+string(state), func() bool {
		status, err := s.status()
		if err == nil {
			last = status
		}
		return err == nil && status.State == state
	})
	return last
}

// wantExit waits until the stream host has ended, and reads exit.json.
func (s *streamHost) wantExit() wire.End {
	s.t.Helper()
	select {
	case <-s.waited:
	case <-time.After(40 * time.Second):
		s.t.Fatal("the stream host does not end")
	}
	var exit wire.Exit
	raw, err := os.ReadFile(filepath.Join(s.spec.RunDir, wire.ExitFile))
	if err == nil {
		err = json.Unmarshal(raw, &exit)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if exit.Nonce != s.spec.Nonce {
		s.t.Errorf("exit of %q", exit.Nonce)
	}
	return exit.End
}

// wantNothingLeft fails if a process of the seat or one of its files remains.
func (s *streamHost) wantNothingLeft(files bool) {
	s.t.Helper()
	testkit.Until(s.t, "nothing left running", func() bool { return len(s.processes()) == 0 })
	if !files {
		return
	}
	if left, _ := filepath.Glob(s.sub("task/.nearcast-*")); len(left) > 0 {
		s.t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(s.spec.RunDir, wire.ControlSocket)); err == nil {
		s.t.Error("the control socket is left")
	}
}

// processes lists the processes with the seat's directory in environment or arguments.
func (s *streamHost) processes() (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if strings.Contains(string(environ)+string(cmdline), filepath.Base(s.base)) {
			found = append(found, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return found
}

// claim is a person who gets the seat.
func (s *streamHost) claim(seat wire.Seat) *person.Person {
	s.t.Helper()
	token, _, err := s.signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: s.spec.App, Version: 1, Sites: []string{"here"}})
	testkit.Must(s.t, err)
	return person.Attach(s.t, s.brain, seat, token)
}

func (s *streamHost) stdout() string {
	raw, err := os.ReadFile(s.sub("stdout"))
	testkit.Must(s.t, err)
	return string(raw)
}

// isStopped reports whether pid is stopped, by signal or by the cgroup freezer.
func isStopped(pid int) bool {
	state := processState(pid)
	wchan, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/wchan")
	return state == "T" || state == "D" && strings.Contains(string(wchan), "refrigerator") || strings.Contains(string(wchan), "freez")
}

// processState is the state of pid in /proc: "T" is stopped.
func processState(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	rest := string(raw[strings.LastIndexByte(string(raw), ')')+2:])
	return rest[:1]
}
