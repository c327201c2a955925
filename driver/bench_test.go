package driver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"
	"github.com/hashicorp/nomad/helper/testlog"
	"github.com/hashicorp/nomad/helper/uuid"
	"github.com/hashicorp/nomad/nomad/structs"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/testutils"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// bench is one agent's driver behind real gRPC, with a directory of its own.
type bench struct {
	*testutils.DriverHarness
	t      *testing.T
	driver *Driver
	runDir string
	// logs starts Nomad's log collector for tasks, which is slow to stop.
	logs   bool
	cancel context.CancelFunc
	// hangUp ends client and server. The harness's own Kill stops the server
	// twice at once, which is a data race in go-plugin.
	hangUp func()
}

// Some parts of a seat need root.
var isRoot = os.Geteuid() == 0

func newBench(t *testing.T, extra string) *bench {
	t.Helper()
	dir := testkit.ShortDir(t)
	return benchAt(t, dir, extra)
}

// benchAt makes another driver on the same directory, like a restarted plugin.
func benchAt(t *testing.T, dir, extra string) *bench {
	t.Helper()
	keys := filepath.Join(dir, "keys.pem")
	if err := os.WriteFile(keys, []byte("the fake stream host reads no keys"), 0o600); err != nil {
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
  seat_keeper = %[1]q
  run_dir     = %[2]q
  ticket_keys = %[3]q
  isolate     = false
  cache {
    dir = %[4]q
  }
  listen {
    api = "127.0.0.1"
  }
  %[5]s
}`, self, b.runDir, keys, filepath.Join(dir, "cache"), extra))
	t.Cleanup(b.end)
	return b
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

// crash ends the plugin as kill -9 does. Seats continue.
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
	// Seats that the last plugin did not know still run, as they should.
	specs, _ := filepath.Glob(filepath.Join(b.runDir, "*", wire.SpecFile))
	for _, file := range specs {
		if spec, err := readSpec(filepath.Dir(file)); err == nil {
			killFamily(context.Background(), markOf(spec), cgroup{})
		}
	}
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

// seatProcesses is the number of live processes of a seat.
func seatProcesses(t *testing.T, nonce string) int {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range family(all, mark{nonce: nonce}, nil) {
		if p.alive() {
			n++
		}
	}
	return n
}
