package driver

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

// agent is a real Nomad agent, server and client in one, with the built plugin, and
// a real Consul agent beside it.
type agent struct {
	t *testing.T
	*testkit.Nomad
	dir    string
	nomad  string // binary
	plugin string
	// real is whether cmd/stream-host runs the seats. The fake one does where the
	// real one does not build, or $NEARCAST_FAKE_STREAM_HOST is set.
	real bool
}

// newAgent starts both. plugin is added to the plugin's config, and env to the agent's
// environment.
func newAgent(t *testing.T, plugin string, env ...string) *agent {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real agents")
	}
	n := testkit.NewNomad(t)
	a := &agent{t: t, Nomad: n, dir: n.Dir, nomad: testkit.Tool(t, "nomad")}
	a.plugin = filepath.Join(a.dir, "plugins", "nomad-driver-stream")
	streamHost := filepath.Join(a.dir, "stream-host")
	a.build(a.plugin, "plugins/nomad-driver-stream")
	keeper := filepath.Join(a.dir, "seat-keeper")
	a.real = os.Getenv("NEARCAST_FAKE_STREAM_HOST") == "" && a.build(streamHost, "cmd/stream-host") == nil && a.build(keeper, "cmd/seat-keeper") == nil
	if a.real {
		a.build(filepath.Join(a.dir, "apps", "testapp"), "dev/testapp")
	} else {
		streamHost, _ = os.Executable()
		keeper = streamHost
	}
	// Like root's home: apps cannot enter it and do not need to.
	closed := filepath.Join(a.dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if !a.real || !isRoot {
		os.Chmod(closed, 0o755) // no isolation
	}
	_, keys := testkit.TicketKeys(t, filepath.Join(a.dir, "keys"))
	consul := "127.0.0.1:1"
	if _, err := testkit.FindTool("consul"); err != nil {
		t.Logf("seats will not register: %v", err)
	} else {
		consul = testkit.StartConsul(t).Address
	}
	// Before Nomad's own end, which would stop its jobs first.
	t.Cleanup(a.end)
	a.Start(fmt.Sprintf(`
data_dir   = %q
plugin_dir = %q
client {
  options = { "driver.allowlist" = "stream" }
}
telemetry {
  # Without it, Nomad asks no driver for statistics.
  publish_allocation_metrics = true
}
consul {
  address = %q
}
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    seat_keeper = %q
    run_dir     = %q
    ticket_keys = %q
    cell {
      paths = [%q]
    }
    cache {
      dir = %q
    }
    consul {
      address = %q
    }
    listen {
      api      = "127.0.0.1"
      loopback = true
    }
    %s
  }
}
`, filepath.Join(closed, "data"), filepath.Join(a.dir, "plugins"), consul, streamHost, keeper, filepath.Join(a.dir, "run"), keys,
		filepath.Join(a.dir, "apps"), filepath.Join(a.dir, "cache"), consul, plugin),
		append(env, `GST_FAKE_FINGERPRINT={"version":"v0.3.0","gstreamer":"1.22.0","encoders":["x264enc","vp8enc"],"display":"Xvfb 21.1","sound":"pulseaudio 16.1"}`)...)
	a.WaitReady("stream")
	return a
}

func (a *agent) build(out, pkg string) error {
	err := testkit.Build(a.t.Context(), pkg, out)
	if err != nil {
		a.t.Log(err)
	}
	return err
}

// start starts the agent after Kill, which takes it away as a crash does: plugin
// and seats live on.
func (a *agent) start() {
	a.t.Helper()
	a.Restart()
	a.WaitReady("stream")
}

func (a *agent) end() {
	a.Kill()
	for _, pid := range a.plugins() {
		unix.Kill(pid, unix.SIGKILL)
	}
	runs, _ := filepath.Glob(filepath.Join(a.dir, "run", "*"))
	for _, dir := range runs {
		reap(context.Background(), dir, cgroup{})
	}
	// The log collector is started from Nomad's binary and outlives it.
	all, _ := processes()
	for _, p := range all {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if bytes.Contains(b, []byte(a.dir)) {
			unix.Kill(p.pid, unix.SIGKILL)
		}
		if fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.pid)); p.pid != os.Getpid() {
			for _, fd := range fds {
				if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, a.dir+"/") {
					unix.Kill(p.pid, unix.SIGKILL)
					break
				}
			}
		}
	}
}

// plugins is the pids of our plugin's processes.
func (a *agent) plugins() []int {
	var out []int
	all, _ := processes()
	for _, p := range all {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)); err == nil && exe == a.plugin && p.alive() {
			out = append(out, p.pid)
		}
	}
	return out
}

func (a *agent) get(path string, into any) error { return a.Get(a.t.Context(), path, into) }

// cli is the nomad command, as operators use it.
func (a *agent) cli(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.nomad, args...)
	cmd.Env = append(testkit.Environ(), "NOMAD_ADDR=http://"+a.Address)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (a *agent) must(args ...string) string {
	a.t.Helper()
	out, err := a.cli("", args...)
	if err != nil {
		a.t.Fatalf("nomad %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

type allocation struct {
	ID           string
	ClientStatus string
	TaskStates   map[string]struct {
		State  string
		Failed bool
		Events []struct {
			Type           string
			Time           int64
			DisplayMessage string
			Details        map[string]string
		}
	}
}

func (al allocation) messages() []string {
	var out []string
	for _, e := range al.TaskStates["seat"].Events {
		out = append(out, e.DisplayMessage)
	}
	return out
}

func (a *agent) alloc(id string) allocation {
	var al allocation
	if err := a.get("/v1/allocation/"+id, &al); err != nil {
		a.t.Logf("get allocation: %v", err)
	}
	return al
}

// submit runs a job. more is added to its task's config.
func (a *agent) submit(id, script, more string) {
	a.t.Helper()
	if a.real {
		script = a.dir + "/apps/testapp & " + script
	}
	file := filepath.Join(a.dir, id+".nomad.hcl")
	os.WriteFile(file, []byte(fmt.Sprintf(`
job %q {
  type = "batch"
  group "seat" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    task "seat" {
      driver = "stream"
      kill_timeout = "2s"
      env {
        MINE = "yes"
      }
      config {
        command     = "/bin/sh"
        args        = ["-c", %q]
        freeze_idle = false
        audio       = false
        %s
        display {
          width  = 320
          height = 240
          fps    = 10
        }
      }
      resources {
        cpu    = 200
        memory = 300
      }
    }
  }
}
`, id, script, more)), 0o644)
	a.must("job", "run", "-detach", file)
}

// run runs a job and returns its allocation when the seat is ready.
func (a *agent) run(id, script string) string {
	a.t.Helper()
	return a.runWith(id, script, "")
}

// runWith is run with more in the task's config.
func (a *agent) runWith(id, script, more string) string {
	a.t.Helper()
	a.submit(id, script, more)
	var alloc string
	eventually(a.t, "seat of "+id+" is ready", func() bool {
		var allocs []allocation
		if a.get("/v1/job/"+id+"/allocations", &allocs) != nil || len(allocs) == 0 {
			return false
		}
		alloc = allocs[0].ID
		if allocs[0].ClientStatus == "failed" {
			a.t.Fatalf("the seat failed: %q", a.alloc(alloc).messages())
		}
		return slices.Contains(a.alloc(alloc).messages(), "ready")
	})
	return alloc
}

// seat is the keeper of an allocation.
func (a *agent) seat(alloc string) (pid int, nonce string) {
	a.t.Helper()
	dir := filepath.Join(a.dir, "run", seatDir(alloc, "seat"))
	c := newControlClient(dir)
	defer c.close()
	s, err := c.status(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	return s.PID, s.Nonce
}
