package nomad

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEndIsReadBack(t *testing.T) {
	for _, end := range []wire.End{
		{Reason: wire.ReasonLeft},
		{Reason: wire.ReasonAppExited, ExitCode: 3},
		{Reason: wire.ReasonAppExited, Signal: 11, Detail: "after 3 s"},
		{Reason: wire.ReasonError, Code: wire.CodeContentMissing, Detail: "no object s3://a/b: gone (404)"},
	} {
		if got, ok := parseEnd(end.String()); !ok || got != end {
			t.Errorf("%q was read as %+v", end, got)
		}
	}
	for _, text := range []string{"", "Exit Code: 1", "lefty", "(left)"} {
		if got, ok := parseEnd(text); ok {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	got := end(task{Events: []event{
		{Type: "Started"},
		{Type: "Driver", DisplayMessage: "idle: no input for 300 s", Details: map[string]string{"reason": "idle"}},
		{Type: "Terminated", Details: map[string]string{"exit_code": "0"}},
	}})
	if want := (wire.End{Reason: wire.ReasonIdle, Detail: "no input for 300 s"}); got == nil || *got != want {
		t.Errorf("the driver's event was read as %+v", got)
	}
}

func TestDisplay(t *testing.T) {
	want := wire.Display{Width: 640, Height: 480, FPS: 60, Pointer: "relative"}
	block := map[string]any{"width": 640.0, "height": "480", "fps": 60.0, "pointer": "relative"}
	for _, config := range []map[string]any{
		{"display": block, "audio": false}, {"display": []any{block}, "audio": false},
	} {
		if got := display(config); got != want {
			t.Errorf("%v was read as %+v", config, got)
		}
	}
	if got := display(nil); got != (wire.Display{Width: 1280, Height: 720, FPS: 30, Pointer: "absolute", Audio: true}) {
		t.Errorf("the default is %+v", got)
	}
}

// agent runs a real Nomad, server and client.
func agent(t *testing.T) (c *Client, kill, start func()) {
	t.Helper()
	bin := testkit.Tool(t, "nomad")
	dir, err := os.MkdirTemp("", "nomad")
	if err != nil {
		t.Fatal(err)
	}
	ports := testkit.Ports(t, 3)
	config := filepath.Join(dir, "agent.hcl")
	err = os.WriteFile(config, fmt.Appendf(nil, `
data_dir  = %q
bind_addr = "127.0.0.1"
advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}
log_level = "WARN"
ports {
  http = %d
  rpc  = %d
  serf = %d
}
server {
  enabled          = true
  bootstrap_expect = 1
}
client {
  enabled = true
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
    "driver.allowlist"     = "raw_exec"
  }
}
plugin "raw_exec" { config { enabled = true } }
consul { address = "127.0.0.1:1" }
`, filepath.Join(dir, "data"), ports[0], ports[1], ports[2]), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	kill = func() { cmd.Process.Kill(); cmd.Wait() }
	start = func() {
		cmd = exec.Command(bin, "agent", "-config", config)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "AWS_CA_BUNDLE=") })
		cmd.Stdout, cmd.Stderr = logs, logs
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	c, err = Open(Config{Address: fmt.Sprintf("127.0.0.1:%d", ports[0]), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	c.driver = "raw_exec"
	t.Cleanup(func() {
		// Tasks outlive the agent: stop them first.
		jobs, _, _ := c.api.Jobs().List(nil)
		for _, j := range jobs {
			c.api.Jobs().Deregister(j.ID, false, nil)
		}
		until(t, "tasks have ended", func() bool {
			allocs, _, err := c.api.Allocations().List(nil)
			return err == nil && !slices.ContainsFunc(allocs, func(a *api.AllocationListStub) bool { return a.ClientStatus == "running" })
		})
		kill()
		c.Close()
		if t.Failed() {
			text, _ := os.ReadFile(logs.Name())
			t.Logf("end of nomad's log:\n%s", text[max(0, len(text)-3000):])
		}
		logs.Close()
		os.RemoveAll(dir)
	})
	until(t, "nomad is ready", func() bool {
		nodes, _, err := c.api.Nodes().List(nil)
		return err == nil && len(nodes) == 1 && nodes[0].Status == "ready"
	})
	return c, kill, start
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second) // a fresh client may need 20 s to register: the keyring comes late
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("never came true: %s", what)
			return
		}
	}
}

func run(t *testing.T, c *Client, hcl string) {
	t.Helper()
	j, err := c.api.Jobs().ParseHCL(hcl, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.api.Jobs().Register(j, nil); err != nil {
		t.Fatal(err)
	}
}

func jobHCL(id, meta, script, extra string) string {
	return fmt.Sprintf(`job %q {
  type = "batch"
  datacenters = ["*"]
  parameterized {}
  meta {
    %s
  }
  group "g" {
    restart { attempts = 0 }
    reschedule { attempts = 0 }
    %s
    task "seat" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args = ["-c", %q]
      }
      resources {
        cpu = 50
        memory = 32
      }
    }
  }
}`, id, strings.ReplaceAll(meta, ";", "\n"), extra, script)
}

func TestAgainstNomad(t *testing.T) {
	c, kill, start := agent(t)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	var (
		mu   sync.Mutex
		last brain.Jobs
	)
	watching := make(chan struct{})
	watch := func(ctx context.Context, done chan struct{}) {
		defer close(done)
		c.Watch(ctx, func(j brain.Jobs) {
			mu.Lock()
			defer mu.Unlock()
			last = j
		})
	}
	go watch(ctx, watching)
	defer func() { cancel(); <-watching }()
	see := func() brain.Jobs {
		mu.Lock()
		defer mu.Unlock()
		return last
	}

	run(t, c, jobHCL("viewer", `warm = "2"; max = "7"; title = "The viewer"`, "sleep 600", ""))
	run(t, c, strings.Replace(jobHCL("tool", "", "true", ""), "parameterized {}", "", 1))
	until(t, "the app is seen", func() bool { return see().Apps["viewer"].Max == 7 })
	app := see().Apps["viewer"]
	if app.Warm != 2 || app.Title != "The viewer" || len(see().Apps) != 1 {
		t.Errorf("apps %+v", see().Apps)
	}

	// The same token starts one seat.
	var ids [2]string
	for i := range ids {
		id, err := c.Dispatch(ctx, app, "s-1")
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	if ids[0] != ids[1] {
		t.Errorf("one token started %v", ids)
	}
	begin := time.Now()
	until(t, "it runs", func() bool { return see().Children[ids[0]].State == brain.ChildRunning })
	t.Logf("running is seen after %v", time.Since(begin))
	seat := see().Children[ids[0]]
	if seat.App != "viewer" || seat.Version != app.Version || seat.Token != "s-1" || seat.Alloc == "" || time.Since(seat.Created) > time.Minute {
		t.Errorf("child %+v", seat)
	}
	if live, err := c.Live(ctx, "viewer"); err != nil || !slices.Equal(live, ids[:1]) {
		t.Errorf("live %v, %v", live, err)
	}

	// A changed job is a new version, and its children's ids tell it.
	run(t, c, jobHCL("viewer", `warm = "x"; max = "3"`, "exit 7", ""))
	until(t, "the new version is seen", func() bool { return see().Apps["viewer"].Version == app.Version+1 })
	app = see().Apps["viewer"]
	if app.Warm != 0 || app.Max != 3 || app.Title != "viewer" {
		t.Errorf("app %+v", app)
	}
	failing, err := c.Dispatch(ctx, app, "s-2")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it exits and is dead", func() bool {
		child := see().Children[failing]
		return child.State == brain.ChildDead && child.End != nil && child.End.ExitCode == 7
	})
	if v := see().Children[failing].Version; v != app.Version {
		t.Errorf("version %d, want %d", v, app.Version)
	}

	// No node can take it.
	run(t, c, jobHCL("huge", "", "sleep 600", `constraint {
      attribute = "${node.class}"
      value = "gpu"
    }`))
	until(t, "seen", func() bool { return see().Apps["huge"].ID != "" })
	stuck, err := c.Dispatch(ctx, see().Apps["huge"], "s-3")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it is blocked, with a reason", func() bool {
		child := see().Children[stuck]
		return child.State == brain.ChildBlocked && strings.Contains(child.Why, "node.class")
	})
	t.Log(see().Children[stuck].Why)

	// A second watch reads the same from the tables.
	other := make(chan brain.Jobs, 100)
	again, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Watch(again, func(j brain.Jobs) {
			select {
			case other <- j:
			default:
			}
		})
	}()
	first := <-other
	stop()
	<-ended
	if got := first.Children[ids[0]]; got.State != brain.ChildRunning || got.Token != "s-1" {
		t.Errorf("second watch: %+v", got)
	}
	if got := first.Children[failing]; got.State != brain.ChildDead || got.End == nil || got.End.ExitCode != 7 {
		t.Errorf("second watch: %+v", got)
	}
	if got := first.Children[stuck]; got.State != brain.ChildBlocked || got.Why == "" {
		t.Errorf("second watch: %+v", got)
	}

	// Nomad is killed and started again. The watch goes on.
	kill()
	start()
	until(t, "nomad has a leader again", func() bool { _, err := c.Live(ctx, "viewer"); return err == nil })
	until(t, "nomad takes writes again", func() bool { return c.Stop(ctx, ids[0]) == nil })
	until(t, "stopped is drained", func() bool {
		child := see().Children[ids[0]]
		return child.State == brain.ChildDead && child.End != nil && child.End.Reason == wire.ReasonDrained
	})
	if _, err := c.Dispatch(ctx, brain.App{ID: "never"}, "s-9"); !errors.Is(err, brain.ErrNoApp) {
		t.Errorf("dispatch of an app that does not exist: %v", err)
	}
	if err := c.Stop(ctx, "viewer"); err == nil {
		t.Error("Stop accepted an app")
	}
	if _, _, err := c.api.Jobs().Deregister("viewer", false, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the stopped app is gone", func() bool { _, ok := see().Apps["viewer"]; return !ok })
	if got := see().Children[failing]; got.App != "viewer" {
		t.Errorf("its children are forgotten: %+v", got)
	}
}
