package driver

import (
	"errors"
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

func TestRealAgent(t *testing.T) {
	a := newAgent(t, `allow {
      users = ["1000:1000", "65534", "nobody:nogroup", "nobody-at-all", "4242424", "nobody:nogroup-at-all", "0:0"]
    }`)
	t.Logf("real stream host: %v", a.real)
	alloc := a.run("one", `echo hello; echo oops >&2; trap "echo got HUP" HUP; while :; do sleep 0.1; done`)
	pid, nonce := a.seat(alloc)

	t.Run("fingerprint", func(t *testing.T) {
		attributes := a.attributes()
		for _, key := range []string{"driver.stream", "driver.stream.version", "driver.stream.stream_host_version", "driver.stream.gstreamer", "driver.stream.encoders", "driver.stream.display", "driver.stream.isolation"} {
			if attributes[key] == "" {
				t.Errorf("no attribute %s", key)
			}
		}
	})
	t.Run("the jobs of this repository are valid", func(t *testing.T) {
		a.must("namespace", "apply", "apps")
		files, err := filepath.Glob("../jobs/*.nomad.hcl")
		if err != nil || len(files) == 0 {
			t.Fatalf("no jobs: %v", err)
		}
		for _, f := range files {
			if out := a.must("job", "validate", f); strings.Contains(out, "Warning") {
				t.Errorf("%s: %s", f, out)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		eventually(t, "stdout and stderr are told apart", func() bool {
			out, _ := a.cli("", "alloc", "logs", alloc)
			err, _ := a.cli("", "alloc", "logs", "-stderr", alloc)
			return strings.Contains(out, "hello") && strings.Contains(err, "oops") && !strings.Contains(out, "oops")
		})
	})
	t.Run("signal", func(t *testing.T) {
		a.must("alloc", "signal", "-s", "SIGHUP", alloc)
		eventually(t, "the app gets SIGHUP", func() bool {
			out, _ := a.cli("", "alloc", "logs", alloc)
			return strings.Contains(out, "got HUP")
		})
	})
	t.Run("exec", func(t *testing.T) {
		out, err := a.cli("typed\n", "alloc", "exec", "-i=true", "-t=false", alloc, "/bin/sh", "-c", `id -u; echo "$MINE"; head -n1; exit 7`)
		var code *exec.ExitError
		if !errors.As(err, &code) || code.ExitCode() != 7 || !strings.Contains(out, "yes") || !strings.Contains(out, "typed") {
			t.Errorf("got %v\n%s", err, out)
		}
		if isRoot && !strings.HasPrefix(out, "20000") {
			t.Errorf("exec is not the app's user:\n%s", out)
		}
		if isRoot {
			out := a.must("alloc", "exec", "-i=false", "-t=false", alloc, "/bin/ls", "/proc/self/ns/net", "-l")
			ours, _ := os.Readlink("/proc/self/ns/net")
			if strings.Contains(out, ours) {
				t.Errorf("exec is in the node's network:\n%s", out)
			}
		}
	})
	t.Run("stats", func(t *testing.T) {
		eventually(t, "memory and CPU are measured", func() bool {
			var s struct {
				ResourceUsage struct {
					MemoryStats struct{ RSS uint64 }
					CPUStats    struct{ Percent float64 }
				}
			}
			return a.get("/v1/client/allocation/"+alloc+"/stats", &s) == nil &&
				s.ResourceUsage.MemoryStats.RSS > 1<<20 && s.ResourceUsage.CPUStats.Percent > 0
		})
	})
	t.Run("parts of the cgroup", func(t *testing.T) { a.inParts(t, alloc, pid) })
	t.Run("plugin is killed", func(t *testing.T) {
		plugins := a.plugins()
		if len(plugins) != 1 {
			t.Fatalf("%d plugin processes", len(plugins))
		}
		unix.Kill(plugins[0], unix.SIGKILL)
		eventually(t, "the agent starts another", func() bool {
			now := a.plugins()
			return len(now) == 1 && now[0] != plugins[0]
		})
		a.stillThere(t, alloc, pid, nonce)
	})
	t.Run("agent is killed", func(t *testing.T) {
		plugins := a.plugins()
		a.Kill()
		a.start()
		a.stillThere(t, alloc, pid, nonce)
		// The plugin's standard error went to the agent that is gone. It must survive
		// the log line of the next seat: Nomad would start that seat twice.
		a.run("next", "sleep 1000")
		if now := a.plugins(); !slices.Equal(now, plugins) {
			t.Errorf("plugin processes are %v, were %v before the agent was killed", now, plugins)
		}
		a.must("job", "stop", "-purge", "next")
	})
	t.Run("agent and plugin are killed", func(t *testing.T) {
		a.Kill()
		for _, p := range a.plugins() {
			unix.Kill(p, unix.SIGKILL)
		}
		a.start()
		a.stillThere(t, alloc, pid, nonce)
		a.inParts(t, alloc, pid)
	})
	t.Run("events came once", func(t *testing.T) {
		n := 0
		for _, m := range a.alloc(alloc).messages() {
			if m == "ready" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d times ready: %q", n, a.alloc(alloc).messages())
		}
	})
	t.Run("stop", func(t *testing.T) {
		a.must("job", "stop", "-detach", "one")
		eventually(t, "the allocation completes", func() bool { return a.alloc(alloc).ClientStatus == "complete" })
		eventually(t, "no process and no run directory is left", func() bool {
			_, err := os.Stat(filepath.Join(a.dir, "run", seatDir(alloc, "seat")))
			return seatProcesses(t, nonce) == 0 && os.IsNotExist(err)
		})
		withoutParts(t, alloc)
		if !strings.Contains(strings.Join(a.alloc(alloc).messages(), "\n"), "drained") {
			t.Errorf("the reason is not reported: %q", a.alloc(alloc).messages())
		}
	})
	t.Run("keeper is killed", func(t *testing.T) {
		alloc := a.run("killed", "sleep 1000")
		keeper, nonce := a.seat(alloc)
		unix.Kill(keeper, unix.SIGKILL)
		eventually(t, "no process is left", func() bool { return seatProcesses(t, nonce) == 0 })
		withoutParts(t, alloc)
	})
	t.Run("failure is reported", func(t *testing.T) {
		alloc := a.run("two", "sleep 1; exit 3")
		eventually(t, "the allocation fails", func() bool { return a.alloc(alloc).ClientStatus == "failed" })
		if !strings.Contains(strings.Join(a.alloc(alloc).messages(), "\n"), "app-exited(3)") {
			t.Errorf("the reason is not reported: %q", a.alloc(alloc).messages())
		}
	})
	t.Run("users", func(t *testing.T) {
		if !isRoot {
			t.Skip("only root runs apps as other users")
		}
		for i, c := range []struct{ user, ids string }{
			{"1000:1000", "1000:1000"}, {"65534", "65534:65534"}, {"nobody:nogroup", "65534:65534"},
		} {
			id := fmt.Sprintf("user-%d", i)
			alloc := a.runWith(id, "echo app $(id -u):$(id -g); while :; do sleep 0.1; done", fmt.Sprintf("user = %q", c.user))
			if out, err := a.cli("", "alloc", "exec", "-i=false", "-t=false", alloc, "/bin/sh", "-c", "echo $(id -u):$(id -g)"); err != nil || strings.TrimSpace(out) != c.ids {
				t.Errorf("user = %q: exec runs as %q, %v; want %s", c.user, out, err, c.ids)
			}
			eventually(t, "the app tells its user", func() bool {
				out, _ := a.cli("", "alloc", "logs", alloc)
				return strings.Contains(out, "app "+c.ids)
			})
			a.must("job", "stop", "-detach", id)
		}
	})
	t.Run("unknown users are reported", func(t *testing.T) {
		if !isRoot {
			t.Skip("only root runs apps as other users")
		}
		for i, c := range []struct{ user, say string }{
			{"4242424", `user "4242424": no account on this node has this uid; write uid:gid`},
			{"nobody:nogroup-at-all", `user "nobody:nogroup-at-all": there is no group "nogroup-at-all" on this node`},
			{"2000:2000", `user = "2000:2000": the operator of this node does not allow it`},
			{"0:0", `user = "0:0" is root, which this node allows only where allow.users names root`},
			{"nobody:", `user = "nobody:": must be "name", "uid", "name:group" or "uid:gid"`},
		} {
			id := fmt.Sprintf("unknown-%d", i)
			a.submit(id, "true", fmt.Sprintf("user = %q", c.user))
			var allocs []allocation
			eventually(t, "the allocation fails", func() bool {
				return a.get("/v1/job/"+id+"/allocations", &allocs) == nil && len(allocs) == 1 && allocs[0].ClientStatus == "failed"
			})
			if said := a.alloc(allocs[0].ID).messages(); !strings.Contains(strings.Join(said, "\n"), c.say) {
				t.Errorf("user = %q: %q", c.user, said)
			}
		}
	})
	t.Run("early failure is reported at once", func(t *testing.T) {
		if !a.real || !isRoot {
			t.Skip("needs root and the real stream host")
		}
		// Nomad's log collector would wait 2 s for each of two outputs that are not
		// opened. The node may be busy: one quick report of three is enough.
		var took []time.Duration
		for i := range 3 {
			took = append(took, a.earlyFailure(t, fmt.Sprintf("early-%d", i)))
			if took[i] < 3*time.Second {
				t.Logf("reported after %v", took[i])
				return
			}
		}
		t.Errorf("reported only after %v", took)
	})
}

// attributes are the node's.
func (a *agent) attributes() map[string]string {
	a.t.Helper()
	var nodes []struct{ ID string }
	if err := a.get("/v1/nodes", &nodes); err != nil {
		a.t.Fatal(err)
	}
	var node struct{ Attributes map[string]string }
	if err := a.get("/v1/node/"+nodes[0].ID, &node); err != nil {
		a.t.Fatal(err)
	}
	return node.Attributes
}

// The operator has set Xorg for the displays of seats, as with a GPU.
func TestAgentWithXorg(t *testing.T) {
	server := testkit.Xorg(t)
	if !isRoot {
		t.Skip("needs root")
	}
	a := newAgent(t, fmt.Sprintf("display {\n server = %q\n driver = %q\n options = [\"SWcursor=true\"]\n }", server.Server, server.Driver))
	if !a.real {
		t.Skip("needs the real stream host")
	}
	alloc := a.run("xorg", `while :; do sleep 0.1; done`)
	if has := a.attributes()["driver.stream.display"]; !strings.HasPrefix(has, "Xorg ") || !strings.HasSuffix(has, " dummy") {
		t.Errorf("the node's display is %q", has)
	}
	dir := filepath.Join(a.dir, "run", seatDir(alloc, "seat"))
	config, err := os.ReadFile(filepath.Join(dir, "xorg.conf"))
	if err != nil || !strings.Contains(string(config), `Option "SWcursor" "true"`) {
		t.Errorf("Xorg's configuration: %v\n%s", err, config)
	}
}

// earlyFailure is the time from the failure of a seat whose app did not start to
// Nomad's report of it.
func (a *agent) earlyFailure(t *testing.T, id string) time.Duration {
	t.Helper()
	a.submit(id, "true", `user = "nobody-at-all"`)
	var allocs []allocation
	eventually(t, "the allocation fails", func() bool {
		return a.get("/v1/job/"+id+"/allocations", &allocs) == nil && len(allocs) == 1 && allocs[0].ClientStatus == "failed"
	})
	now := time.Now()
	for _, e := range a.alloc(allocs[0].ID).TaskStates["seat"].Events {
		if strings.Contains(e.DisplayMessage, "error(") {
			return now.Sub(time.Unix(0, e.Time))
		}
	}
	t.Fatalf("the reason is not reported: %q", a.alloc(allocs[0].ID).messages())
	return 0
}

// inParts checks that a seat's processes share processors as parts of its cgroup.
func (a *agent) inParts(t *testing.T, alloc string, keeper int) {
	t.Helper()
	if !a.real || !isRoot {
		t.Skip("needs root and the real stream host")
	}
	task := filepath.Dir(cpuGroup(t, keeper))
	if filepath.Base(cpuGroup(t, keeper)) != string(hostPart) || !strings.Contains(task, alloc) {
		t.Fatalf("the keeper is in %s", cpuGroup(t, keeper))
	}
	spec, err := readSpec(filepath.Join(a.dir, "run", seatDir(alloc, "seat")))
	if err != nil {
		t.Fatal(err)
	}
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	parts := map[string]part{"stream-host": hostPart, "Xvfb": cellPart, "testapp": cellPart}
	for _, p := range family(all, markOf(spec), nil) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid))
		name := strings.TrimSpace(string(b))
		if parts[name] == "" {
			continue
		}
		found[name] = true
		if got := cpuGroup(t, p.pid); got != filepath.Join(task, string(parts[name])) {
			t.Errorf("%s is in %s, beside %s", name, got, task)
		}
	}
	if len(found) != len(parts) {
		t.Errorf("found only %v", found)
	}
	out := a.must("alloc", "exec", "-i=false", "-t=false", alloc, "/bin/cat", "/proc/self/cgroup")
	if !strings.Contains(out, filepath.Join(task, string(cellPart))) {
		t.Errorf("a command of exec is in\n%s", out)
	}
}

// withoutParts checks that no part of an allocation's cgroup is left.
func withoutParts(t *testing.T, alloc string) {
	t.Helper()
	eventually(t, "no part of the cgroup is left", func() bool {
		for _, pattern := range []string{"cpu/nomad/" + alloc + ".seat/*/cgroup.procs", "nomad.slice/*/" + alloc + ".seat.scope/*/cgroup.procs"} {
			if left, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", pattern)); len(left) > 0 || err != nil {
				return false
			}
		}
		return true
	})
}

// stillThere checks that the same seat runs and answers Nomad.
func (a *agent) stillThere(t *testing.T, alloc string, pid int, nonce string) {
	t.Helper()
	eventually(t, "the seat answers through the agent", func() bool {
		out, err := a.cli("", "alloc", "exec", "-i=false", "-t=false", alloc, "/bin/echo", "still here")
		return err == nil && strings.Contains(out, "still here")
	})
	if s := a.alloc(alloc); s.ClientStatus != "running" || s.TaskStates["seat"].State != "running" {
		t.Errorf("the allocation is %s: %q", s.ClientStatus, s.messages())
	}
	if p, n := a.seat(alloc); p != pid || n != nonce {
		t.Errorf("another stream host: %d, was %d", p, pid)
	}
}
