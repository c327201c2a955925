package driver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestTaskEnds(t *testing.T) {
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
		"stream host dies":    {script: "sleep 1000 & sleep 1000", env: map[string]string{"FAKE": "vanish"}, code: 1, err: "error(stream-host-died): the stream host died; its log ends: the fake vanishes"},
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
	// The end of the plugin also ends this start.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	t.Cleanup(b.MkAllocDir(cfg, false))
	s, _ := d.config()
	users, release, err := s.users.take(s.runDir)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := newSpec(s, cfg, users, nil)
	release()
	if err != nil {
		t.Fatal(err)
	}
	spec.SeatKeeper, _ = s.findSeatKeeper()
	if err := writeSpec(spec); err != nil {
		t.Fatal(err)
	}
	if _, _, err = launch(ctx, spec, cfg, os.Environ()); err == nil || !strings.Contains(err.Error(), "its log ends: the fake is silent") {
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

// The app itself writes to the log FIFOs, and the agent's secrets do not reach it.
func TestLogsAndEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "the agent's")
	t.Setenv("AWS_REGION", "eu-north-9")
	t.Setenv("AGENT_SECRET", "the agent's")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
	b := newBench(t, "")
	b.logs = true
	cfg := job("env; id -u >&2", map[string]string{
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
	} else if strings.Contains(out, "HOME=") || strings.Contains(out, "OTEL_") {
		t.Errorf("the agent's HOME reached the app:\n%s", out)
	}
	if isRoot && !strings.HasPrefix(read("stderr"), "20000") {
		t.Errorf("the app runs as %q", read("stderr"))
	}
	var environ string
	for _, kv := range streamHostEnviron(os.Environ(), map[string]string{"NVIDIA_VISIBLE_DEVICES": "0"}, "n") {
		environ += kv + "\n"
	}
	for want, has := range map[string]bool{"AWS_REGION=eu-north-9\n": true, "NVIDIA_VISIBLE_DEVICES=0\n": true, "NEARCAST_NONCE=n\n": true, "AGENT_SECRET": false, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n": true} {
		if strings.Contains(environ, want) != has {
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

// Nomad sets an empty config when it needs only the plugin's version.
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
	if _, err := b.tryStart(cfg); err == nil || !strings.Contains(err.Error(), "display.fps = 500: must be a whole number from 1 to 120") {
		t.Errorf("got %v", err)
	}
	cfg = job("true", nil)
	cfg.User = "a:b:c"
	if _, err := b.tryStart(cfg); err == nil || !strings.Contains(err.Error(), `task: user = "a:b:c": must be "name"`) {
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

// The parameters that the job's meta declares are the seat's, and a job whose args name
// another one is refused before any content is fetched.
func TestSpecHasParams(t *testing.T) {
	declared := map[string]string{"NOMAD_META_params": `[{"name":"model","default":"robot"}]`}
	for name, c := range map[string]struct {
		meta map[string]string
		args string
		why  string
	}{
		"declared":     {declared, "{{param.model}}", ""},
		"not declared": {declared, "{{param.modell}}", "{{param.modell}} names no parameter"},
		"no JSON":      {map[string]string{"NOMAD_META_params": "model"}, "", "JSON list"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := job("sleep 1000", c.meta)
			task := validTask()
			task.Start, task.Args = startClaim, []string{c.args}
			if err := cfg.EncodeConcreteDriverConfig(task); err != nil {
				t.Fatal(err)
			}
			spec, err := newSpec(settings{ticketKeys: "keys.pem", allow: allowed{networks: []string{"none"}}}, cfg, seatUsers{}, nil)
			if c.why != "" {
				if err == nil || !strings.Contains(err.Error(), c.why) {
					t.Errorf("got %v, want an error about %q", err, c.why)
				}
				return
			}
			if err != nil || !spec.StartOnClaim || len(spec.Params) != 1 || spec.Params[0].Default != "robot" {
				t.Errorf("got %+v, %v", spec, err)
			}
		})
	}
}

// In the namespace of the jobs that fetch, a task that would start a program is refused.
func TestFetchNamespace(t *testing.T) {
	for _, c := range []struct {
		namespace string
		only      bool
		why       string
	}{
		{"apps", false, ""},
		{"apps", true, ""},
		{wire.FetchNamespace, true, ""},
		{wire.FetchNamespace, false, "jobs in the namespace fetches only fetch content"},
	} {
		cfg := job("sleep 1000", nil)
		cfg.Namespace = c.namespace
		task := validTask()
		task.FetchOnly = c.only
		task.Content = []ContentConfig{{Source: "s3://content/v1/", Destination: "local"}}
		if err := cfg.EncodeConcreteDriverConfig(task); err != nil {
			t.Fatal(err)
		}
		_, err := newSpec(settings{ticketKeys: "keys.pem", allow: allowed{networks: []string{"none"}}}, cfg, seatUsers{}, nil)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
