package driver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/testutils"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// bench is one agent's driver behind real gRPC, with a directory of its own.
type bench struct {
	*testutils.DriverHarness
	t      *testing.T
	driver *Driver
	runDir string
	// logs starts Nomad's log collector for tasks. It is slow to stop.
	logs   bool
	cancel context.CancelFunc
	// hangUp ends client and server. The harness's own Kill stops the server
	// twice at once, which is a data race in go-plugin.
	hangUp func()
}

// root-only parts of a seat are tested only as root.
var isRoot = os.Geteuid() == 0

func newBench(t *testing.T, extra string) *bench {
	t.Helper()
	dir := shortTempDir(t)
	return benchAt(t, dir, extra)
}

// benchAt makes another driver on the same directory, as a restarted plugin.
func benchAt(t *testing.T, dir, extra string) *bench {
	t.Helper()
	keys := filepath.Join(dir, "keys.pem")
	if err := os.WriteFile(keys, []byte("none of the fake's business"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := New(ctx, testlog.HCLogger(t))
	b := &bench{DriverHarness: testutils.NewDriverHarness(t, d), t: t, driver: d, runDir: filepath.Join(dir, "run"), cancel: cancel}
	b.hangUp = b.MkAllocDir(&drivers.TaskConfig{AllocID: uuid.Generate(), Name: "none"}, false)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.configure(fmt.Sprintf(`
config {
  stream_host = %q
  run_dir     = %q
  ticket_keys = %q
  isolate     = false
  cache {
    dir = %q
  }
  listen {
    control = "127.0.0.1"
  }
  %s
}`, self, b.runDir, keys, filepath.Join(dir, "cache"), extra))
	t.Cleanup(b.end)
	return b
}

// shortTempDir is short enough for unix sockets, whatever the test's name.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (b *bench) configure(hcl string) {
	b.t.Helper()
	if err := b.setConfig(hcl); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) setConfig(hcl string) error {
	b.t.Helper()
	var c map[string]any
	hclutils.NewConfigParser(configSpec).ParseHCL(b.t, hcl, &c)
	var raw []byte
	if err := base.MsgPackEncode(&raw, c); err != nil {
		b.t.Fatal(err)
	}
	return b.SetConfig(&base.Config{PluginConfig: raw, AgentConfig: &base.AgentConfig{}, ApiVersion: drivers.ApiVersion010})
}

// crash takes the plugin away as kill -9 does: seats live on.
func (b *bench) crash() {
	b.cancel()
	b.hangUp()
}

func (b *bench) end() {
	b.driver.mu.Lock()
	var ids []string
	for id := range b.driver.tasks {
		ids = append(ids, id)
	}
	b.driver.mu.Unlock()
	if b.driver.ctx.Err() == nil {
		for _, id := range ids {
			if err := b.driver.DestroyTask(id, true); err != nil {
				b.t.Errorf("clean up: %v", err)
			}
		}
	}
	b.crash()
}

// job is a task's config, with sh as its app.
func job(script string, env map[string]string) *drivers.TaskConfig {
	alloc := uuid.Generate()
	cfg := &drivers.TaskConfig{
		ID: alloc + "/seat/" + uuid.Short(), AllocID: alloc, Name: "seat",
		JobID: "viewer/dispatch-v7-1700000000-0123abcd", NodeName: "n1",
		Env: map[string]string{"NOMAD_JOB_PARENT_ID": "viewer"},
		Resources: &drivers.Resources{
			NomadResources: &structs.AllocatedTaskResources{},
			LinuxResources: &drivers.LinuxResources{},
		},
	}
	for k, v := range env {
		cfg.Env[k] = v
	}
	if err := cfg.EncodeConcreteDriverConfig(shTask(script)); err != nil {
		panic(err)
	}
	return cfg
}

func shTask(script string) *TaskConfig {
	c := validTask()
	c.Command, c.Args = "/bin/sh", []string{"-c", script}
	return c
}

func (b *bench) start(cfg *drivers.TaskConfig) *drivers.TaskHandle {
	b.t.Helper()
	h, err := b.tryStart(cfg)
	if err != nil {
		b.t.Fatalf("start: %v", err)
	}
	return h
}

func (b *bench) tryStart(cfg *drivers.TaskConfig) (*drivers.TaskHandle, error) {
	b.t.Helper()
	if cfg.AllocDir == "" {
		b.t.Cleanup(b.MkAllocDir(cfg, b.logs))
		// The harness makes its directory for root only.
		os.Chmod(filepath.Dir(cfg.AllocDir), 0o755)
	}
	h, _, err := b.StartTask(cfg)
	return h, err
}

func (b *bench) wait(id string) *drivers.ExitResult {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	ch, err := b.WaitTask(ctx, id)
	if err != nil {
		b.t.Fatal(err)
	}
	r := <-ch
	if r == nil {
		b.t.Fatal("WaitTask gave no result")
	}
	if ctx.Err() != nil {
		b.t.Fatal("the task did not end within 30 s")
	}
	return r
}

func stateOf(t *testing.T, h *drivers.TaskHandle) State {
	t.Helper()
	var s State
	if err := h.GetDriverState(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// seatProcesses is how many processes carry the mark.
func seatProcesses(t *testing.T, nonce string) int {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range family(all, nonce, nil) {
		if p.alive() {
			n++
		}
	}
	return n
}

func TestTaskLifeAndEnd(t *testing.T) {
	tests := map[string]struct {
		script string
		env    map[string]string
		code   int
		signal int
		err    string
	}{
		"app exits well":      {script: "exit 0"},
		"app exits with 3":    {script: "exit 3", code: 3, err: "app-exited(3)"},
		"app is killed":       {script: "kill -9 $$", code: 1, signal: 9, err: "app-exited(signal 9)"},
		"stream host dies":    {script: "sleep 1000 & sleep 1000", env: map[string]string{"FAKE": "vanish"}, code: 1, err: "error(host-died): the stream host vanished; its log ends: the fake vanishes"},
		"stream host refuses": {script: "true", env: map[string]string{"FAKE": "refuse"}, code: 1, err: "error(config): the fake refuses"},
	}
	b := newBench(t, "")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := job(tt.script, tt.env)
			h := b.start(cfg)
			r := b.wait(cfg.ID)
			got := ""
			if r.Err != nil {
				got = r.Err.Error()
			}
			if r.ExitCode != tt.code || r.Signal != tt.signal || got != tt.err {
				t.Errorf("got code %d, signal %d, error %q; want %d, %d, %q", r.ExitCode, r.Signal, got, tt.code, tt.signal, tt.err)
			}
			// A second wait answers the same, at once.
			if again := b.wait(cfg.ID); again.ExitCode != tt.code {
				t.Errorf("second wait: code %d", again.ExitCode)
			}
			s, err := b.InspectTask(cfg.ID)
			if err != nil || s.State != drivers.TaskStateExited || s.CompletedAt.IsZero() {
				t.Errorf("inspect: %+v, %v", s, err)
			}
			if n := seatProcesses(t, stateOf(t, h).Nonce); n != 0 {
				t.Errorf("%d processes are left", n)
			}
			if err := b.DestroyTask(cfg.ID, false); err != nil {
				t.Errorf("destroy: %v", err)
			}
			if _, err := os.Stat(stateOf(t, h).Dir); !os.IsNotExist(err) {
				t.Errorf("the run directory is left: %v", err)
			}
		})
	}
}

func TestStreamHostThatNeverAnswersIsNotLeft(t *testing.T) {
	b := newBench(t, "")
	cfg := job("true", map[string]string{"FAKE": "silent"})
	d := b.driver
	// The plugin's end also ends a start that goes nowhere.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	t.Cleanup(b.MkAllocDir(cfg, false))
	s, _ := d.config()
	spec, err := newSpec(s, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := s.findHost()
	if _, _, err = launch(ctx, host, spec, cfg, os.Environ()); err == nil || !strings.Contains(err.Error(), "its log ends: the fake is silent") {
		t.Errorf("got %v", err)
	}
	if n := seatProcesses(t, spec.Nonce); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestStopTask(t *testing.T) {
	b := newBench(t, "")
	t.Run("in order", func(t *testing.T) {
		cfg := job("exec sleep 1000", nil)
		h := b.start(cfg)
		if s, err := b.InspectTask(cfg.ID); err != nil || s.State != drivers.TaskStateRunning {
			t.Fatalf("inspect: %+v, %v", s, err)
		}
		if err := b.DestroyTask(cfg.ID, false); err == nil {
			t.Error("a running task was destroyed without force")
		}
		if err := b.StopTask(cfg.ID, 5*time.Second, "SIGINT"); err != nil {
			t.Fatal(err)
		}
		if r := b.wait(cfg.ID); !r.Successful() {
			t.Errorf("drained, but %+v", r)
		}
		if n := seatProcesses(t, stateOf(t, h).Nonce); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	})
	t.Run("by force", func(t *testing.T) {
		cfg := job("trap '' TERM INT; sleep 1000", map[string]string{"FAKE": "deaf"})
		h := b.start(cfg)
		if err := b.StopTask(cfg.ID, 100*time.Millisecond, ""); err != nil {
			t.Fatal(err)
		}
		if r := b.wait(cfg.ID); !r.Successful() {
			t.Errorf("drained, but %+v", r)
		}
		if n := seatProcesses(t, stateOf(t, h).Nonce); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	})
	t.Run("stream host does not even run", func(t *testing.T) {
		cfg := job("sleep 1000", nil)
		h := b.start(cfg)
		unix.Kill(stateOf(t, h).PID, unix.SIGSTOP)
		if err := b.DestroyTask(cfg.ID, true); err != nil {
			t.Fatal(err)
		}
		if n := seatProcesses(t, stateOf(t, h).Nonce); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	})
	t.Run("unknown task", func(t *testing.T) {
		if err := b.StopTask("a/b/c", time.Second, "SIGTERM"); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := b.DestroyTask("a/b/c", true); err != nil {
			t.Errorf("destroy: %v", err)
		}
		if _, err := b.InspectTask("a/b/c"); err == nil {
			t.Error("inspect knows it")
		}
		if err := b.SignalTask("a/b/c", "SIGHUP"); err == nil {
			t.Error("signal knows it")
		}
	})
}

func TestSignalTask(t *testing.T) {
	b := newBench(t, "")
	cfg := job("trap 'exit 9' HUP; echo ready > "+"local/ready; while :; do sleep 0.05; done", nil)
	b.start(cfg)
	eventually(t, "the app runs", func() bool {
		_, err := os.Stat(filepath.Join(cfg.TaskDir().LocalDir, "ready"))
		return err == nil
	})
	if err := b.SignalTask(cfg.ID, "SIGNONSENSE"); err == nil || !strings.Contains(err.Error(), `unknown signal "SIGNONSENSE"`) {
		t.Errorf("got %v", err)
	}
	if err := b.SignalTask(cfg.ID, "sighup"); err != nil {
		t.Fatal(err)
	}
	if r := b.wait(cfg.ID); r.ExitCode != 9 {
		t.Errorf("got %+v", r)
	}
}

func TestPersonLeavesIsSuccess(t *testing.T) {
	b := newBench(t, "")
	cfg := job("sleep 1000", map[string]string{"FAKE": "left"})
	b.start(cfg)
	events, err := b.TaskEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SignalTask(cfg.ID, "SIGUSR1"); err != nil {
		t.Fatal(err)
	}
	if r := b.wait(cfg.ID); !r.Successful() {
		t.Errorf("got %+v", r)
	}
	for e := range events {
		if e.Message == "left" {
			if e.Annotations["reason"] != "left" || e.AllocID != cfg.AllocID || e.TaskName != "seat" {
				t.Errorf("got %+v", e)
			}
			return
		}
	}
}

// The log FIFOs must be written by the app itself, and the agent's secrets must
// not reach it.
func TestLogsAndEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "the agent's")
	t.Setenv("AWS_REGION", "eu-north-9")
	t.Setenv("AGENT_SECRET", "the agent's")
	b := newBench(t, "")
	b.logs = true
	cfg := job("env; id -un >&2", map[string]string{
		"AWS_SECRET_ACCESS_KEY": "the agent's", "AWS_REGION": "of before", "AGENT_SECRET": "the agent's", "MINE": "yes",
	})
	b.start(cfg)
	if r := b.wait(cfg.ID); !r.Successful() {
		t.Fatalf("got %+v", r)
	}
	read := func(kind string) string {
		b, _ := os.ReadFile(filepath.Join(cfg.TaskDir().LogDir, "seat."+kind+".0"))
		return string(b)
	}
	eventually(t, "logs are collected", func() bool {
		return strings.Contains(read("stdout"), "MINE=yes") && read("stderr") != ""
	})
	if out := read("stdout"); strings.Contains(out, "AWS_") || strings.Contains(out, "AGENT_SECRET") {
		t.Errorf("the agent's environment reached the app:\n%s", out)
	} else if strings.Contains(out, "HOME=") {
		t.Errorf("the agent's HOME reached the app:\n%s", out)
	}
	if isRoot && strings.TrimSpace(read("stderr")) != "nobody" {
		t.Errorf("the app runs as %q", read("stderr"))
	}
	var host string
	for _, kv := range hostEnviron(os.Environ(), map[string]string{"NVIDIA_VISIBLE_DEVICES": "0"}, "n") {
		host += kv + "\n"
	}
	for want, has := range map[string]bool{"AWS_REGION=eu-north-9\n": true, "NVIDIA_VISIBLE_DEVICES=0\n": true, "NEARCAST_NONCE=n\n": true, "AGENT_SECRET": false} {
		if strings.Contains(host, want) != has {
			t.Errorf("stream host's environment: %q is %v", want, !has)
		}
	}
}

func TestSpecSaysWhoAndWhere(t *testing.T) {
	b := newBench(t, "")
	cfg := job("sleep 1000", nil)
	h := b.start(cfg)
	spec, err := readSpec(stateOf(t, h).Dir)
	if err != nil {
		t.Fatal(err)
	}
	if spec.App != "viewer" || spec.Job != cfg.JobID || spec.Version != 7 || spec.Alloc != cfg.AllocID || spec.Node != "n1" {
		t.Errorf("got %+v", spec)
	}
	if fi, err := os.Stat(filepath.Join(stateOf(t, h).Dir, wire.SpecFile)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("spec: %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(stateOf(t, h).Dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("run directory: %v, %v", fi.Mode(), err)
	}
}

// A start that Nomad never heard of (the plugin died in it) must not live on
// beside the next one.
func TestStartReapsWhatAnEarlierStartLeft(t *testing.T) {
	for _, answers := range []bool{true, false} {
		t.Run(fmt.Sprintf("answers=%v", answers), func(t *testing.T) {
			dir := shortTempDir(t)
			first := benchAt(t, dir, "")
			cfg := job("sleep 1000 & sleep 1000", nil)
			old := stateOf(t, first.start(cfg))
			first.crash()
			if !answers {
				unix.Kill(old.PID, unix.SIGKILL)
			}
			second := benchAt(t, dir, "")
			again := cfg.Copy()
			again.ID = cfg.AllocID + "/seat/" + uuid.Short()
			again.EncodeConcreteDriverConfig(shTask("sleep 1000"))
			now := stateOf(t, second.start(again))
			if n := seatProcesses(t, old.Nonce); n != 0 {
				t.Errorf("%d processes of the earlier start are left", n)
			}
			if n := seatProcesses(t, now.Nonce); n == 0 {
				t.Error("the new start does not run")
			}
			if now.Dir != old.Dir {
				t.Errorf("another directory: %s, %s", now.Dir, old.Dir)
			}
			// What Nomad says to the earlier id concerns nobody.
			if err := second.DestroyTask(cfg.ID, true); err != nil {
				t.Error(err)
			}
			if n := seatProcesses(t, now.Nonce); n == 0 {
				t.Error("destroying the earlier start ended the new one")
			}
		})
	}
}

func TestRecoverTask(t *testing.T) {
	dir := shortTempDir(t)
	first := benchAt(t, dir, "")
	cfg := job("trap 'exit 5' HUP; while :; do sleep 0.05; done", nil)
	h := first.start(cfg)
	events, err := first.TaskEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, want := range []string{"fetching content", "app started", "ready"} {
		e := <-events
		seen[e.Message]++
		if e.Message != want {
			t.Fatalf("event %q, want %q", e.Message, want)
		}
	}
	eventually(t, "the last event is remembered", func() bool {
		b, _ := os.ReadFile(filepath.Join(stateOf(t, h).Dir, seqFile))
		return string(b) == "3"
	})
	first.crash()

	second := benchAt(t, dir, "")
	events, err = second.TaskEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice: the agent may ask again
		if err := second.RecoverTask(h); err != nil {
			t.Fatal(err)
		}
	}
	s, err := second.InspectTask(cfg.ID)
	if err != nil || s.State != drivers.TaskStateRunning || s.DriverAttributes["pid"] != fmt.Sprint(stateOf(t, h).PID) {
		t.Fatalf("inspect: %+v, %v", s, err)
	}
	if err := second.SignalTask(cfg.ID, "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	if r := second.wait(cfg.ID); r.ExitCode != 5 {
		t.Errorf("got %+v", r)
	}
	for e := range events {
		seen[e.Message]++
		if e.Message == "app-exited(5)" {
			break
		}
	}
	for message, n := range seen {
		if n != 1 {
			t.Errorf("event %q came %d times", message, n)
		}
	}
}

func TestRecoverTaskThatEndedMeanwhile(t *testing.T) {
	for _, word := range []bool{true, false} {
		t.Run(fmt.Sprintf("exit.json=%v", word), func(t *testing.T) {
			dir := shortTempDir(t)
			first := benchAt(t, dir, "")
			cfg := job("sleep 1000 & while [ ! -e local/go ]; do sleep 0.02; done; exit 4", nil)
			h := first.start(cfg)
			s := stateOf(t, h)
			first.crash()
			if word {
				os.WriteFile(filepath.Join(cfg.TaskDir().LocalDir, "go"), nil, 0o644)
			} else {
				unix.Kill(s.PID, unix.SIGKILL)
			}
			eventually(t, "the stream host ends", func() bool {
				p, err := readProcess(s.PID)
				return err != nil || p.start != s.StartTime || !p.alive()
			})
			second := benchAt(t, dir, "")
			err := second.RecoverTask(h)
			if !word {
				if err == nil {
					t.Error("recovered a seat that is gone")
				}
				if n := seatProcesses(t, s.Nonce); n != 0 {
					t.Errorf("%d processes are left", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r := second.wait(cfg.ID); r.ExitCode != 4 {
				t.Errorf("got %+v", r)
			}
			if n := seatProcesses(t, s.Nonce); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

func TestRecoverRefusesAnother(t *testing.T) {
	b := newBench(t, "")
	cfg := job("sleep 1000", nil)
	h := b.start(cfg)
	s := stateOf(t, h)
	s.Nonce = "of another start"
	other := h.Copy()
	other.Config.ID += "x"
	other.SetDriverState(&s)
	if err := b.RecoverTask(other); err == nil {
		t.Error("recovered with another nonce")
	}
	if err := b.RecoverTask(&drivers.TaskHandle{Version: 99, Config: other.Config}); err == nil {
		t.Error("recovered a state of another version")
	}
}

// Nomad sets a config without AgentConfig.Driver, or none, when it only wants
// the plugin's version.
func TestConfigWithoutAgent(t *testing.T) {
	d := New(t.Context(), testlog.HCLogger(t))
	for _, c := range []*base.Config{{}, {AgentConfig: &base.AgentConfig{}}} {
		if err := d.SetConfig(c); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := d.StartTask(job("true", nil)); err == nil {
		t.Error("started without a config")
	}
}

func TestStartTellsWhatIsWrong(t *testing.T) {
	b := newBench(t, "")
	cfg := job("true", nil)
	bad := validTask()
	bad.Display.FPS = 500
	cfg.EncodeConcreteDriverConfig(bad)
	if _, err := b.tryStart(cfg); err == nil || !strings.Contains(err.Error(), "display.fps = 500: want a whole number from 1 to 120") {
		t.Errorf("got %v", err)
	}
	cfg = job("true", nil)
	cfg.Mounts = []*drivers.MountConfig{{TaskPath: "/data", HostPath: "/srv"}}
	if _, err := b.tryStart(cfg); err == nil || !strings.Contains(err.Error(), "/data") {
		t.Errorf("got %v", err)
	}
	if err := b.setConfig(`config { stream_host = "/nonexistent" ticket_keys = "/x" isolate = false }`); err != nil {
		t.Fatal(err)
	}
	if _, err := b.tryStart(job("true", nil)); err == nil || !strings.Contains(err.Error(), "stream_host") {
		t.Errorf("got %v", err)
	}
}
