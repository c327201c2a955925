package testkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Nomad is an agent, server and client in one, of the region global unless its
// configuration says otherwise.
//
//	n := testkit.NewNomad(t)
//	n.Start(`client { options = { "driver.allowlist" = "raw_exec" } } plugin "raw_exec" { config { enabled = true } }`)
//	n.WaitReady("raw_exec")
type Nomad struct {
	Address string // host:port of its HTTP API
	Dir     string // its folder, short enough for Unix sockets below it
	Token   string // for its API, where ACLs are on

	t       testing.TB
	bin     string
	ports   []int
	env     []string
	process *Process // nil where it does not run
	log     *os.File
}

// NewNomad prepares an agent. Its Dir, with all that the test puts there, is removed
// at the end, and kept where the test fails.
func NewNomad(t testing.TB) *Nomad {
	t.Helper()
	n := &Nomad{t: t, bin: Tool(t, "nomad"), ports: Ports(t, 3), log: logFile(t, "nomad")}
	n.Address = address(n.ports[0])
	var err error
	if n.Dir, err = os.MkdirTemp("/tmp", "ncn"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.end)
	if err := os.Chmod(n.Dir, 0o755); err != nil { // tasks run as other users
		t.Fatal(err)
	}
	return n
}

// Start runs the agent with a configuration that adds to the least that an agent
// needs, and more variables in its environment. It does not wait until the agent is
// ready.
func (n *Nomad) Start(config string, env ...string) {
	n.t.Helper()
	base := fmt.Sprintf(`
name                 = "test"
data_dir             = %q
bind_addr            = "127.0.0.1"
log_level            = "WARN"
disable_update_check = true
ports {
  http = %d
  rpc  = %d
  serf = %d
}
advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}
server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
}
client {
  enabled                 = true
  network_interface       = "lo"
  cpu_total_compute       = 8000
  gc_disk_usage_threshold = 99
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}
consul {
  address          = "127.0.0.1:1" # nothing listens there
  auto_advertise   = false
  client_auto_join = false
  server_auto_join = false
}
`, filepath.Join(n.Dir, "data"), n.ports[0], n.ports[1], n.ports[2])
	for file, text := range map[string]string{n.file("base"): base, n.file("test"): config} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
	n.env = env
	n.Restart()
}

func (n *Nomad) file(name string) string { return filepath.Join(n.Dir, name+".hcl") }

// Kill ends the agent as kill -9 does. Its tasks keep running.
func (n *Nomad) Kill() {
	if n.process != nil {
		n.process.Kill()
		n.process = nil
	}
}

// Restart starts the agent after Kill.
func (n *Nomad) Restart() {
	n.t.Helper()
	cmd := exec.Command(n.bin, "agent", "-config="+n.file("base"), "-config="+n.file("test"))
	cmd.Env = append(append(Environ(), n.mark()), n.env...)
	cmd.Stdout, cmd.Stderr = n.log, n.log
	var err error
	if n.process, err = start(cmd); err != nil {
		n.process = nil
		n.t.Fatal(err)
	}
}

// WaitReady waits until the agent's node takes tasks of a driver.
func (n *Nomad) WaitReady(driver string) {
	n.t.Helper()
	// A client that asks before the server has its keys waits 15 s to ask again.
	Retry(Context(n.t, time.Minute), n.t, "the node is ready and its driver "+driver+" healthy", func() error {
		var nodes []struct {
			Status  string
			Drivers map[string]struct{ Healthy bool }
		}
		err := n.Get(n.t.Context(), "/v1/nodes", &nodes)
		if err == nil && (len(nodes) != 1 || nodes[0].Status != "ready" || !nodes[0].Drivers[driver].Healthy) {
			err = fmt.Errorf("nodes: %+v", nodes)
		}
		return err
	})
}

// Get reads a page of the agent's API.
func (n *Nomad) Get(ctx context.Context, path string, into any) error {
	body, err := get(ctx, "http://"+n.Address+path, n.Token)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// end ends the agent and all that runs in it, and removes what it has.
func (n *Nomad) end() {
	if n.process != nil {
		if err := n.stopJobs(); err != nil {
			n.t.Error(err)
		}
		n.Kill()
	}
	n.killMarked()
	if err := Unmount(n.Dir); err != nil {
		n.t.Error(err)
	}
	if n.t.Failed() {
		n.t.Logf("what nomad left is kept in %s", n.Dir)
	} else if err := os.RemoveAll(n.Dir); err != nil {
		n.t.Error(err)
	}
}

// stopJobs ends all tasks in order: an agent that is killed leaves them running.
func (n *Nomad) stopJobs() error {
	limit := time.Minute
	if n.t.Failed() {
		limit = 10 * time.Second // the agent may be what failed
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var err error
	if poll(ctx, 50*time.Millisecond, func() bool { err = n.tryStopJobs(ctx); return err == nil }) {
		return nil
	}
	return fmt.Errorf("stop Nomad's jobs: %w", err)
}

// tryStopJobs asks Nomad to stop all jobs, and has no error once no task runs. It is
// repeated, because a job can start another.
func (n *Nomad) tryStopJobs(ctx context.Context) error {
	var jobs []struct{ ID, Namespace, Status string }
	if err := n.Get(ctx, "/v1/jobs?namespace=*", &jobs); err != nil {
		return err
	}
	for _, job := range jobs {
		if job.Status == "dead" {
			continue
		}
		if _, err := ask(ctx, http.MethodDelete, "http://"+n.Address+"/v1/job/"+url.PathEscape(job.ID)+"?namespace="+job.Namespace, n.Token); err != nil {
			return err
		}
	}
	var allocs []struct{ ID, ClientStatus string }
	if err := n.Get(ctx, "/v1/allocations?namespace=*", &allocs); err != nil {
		return err
	}
	for _, a := range allocs {
		if a.ClientStatus == "running" || a.ClientStatus == "pending" {
			return fmt.Errorf("allocation %s is %s", a.ID, a.ClientStatus)
		}
	}
	return nil
}

// mark is in the environment of the agent and of all that it starts.
func (n *Nomad) mark() string { return "NEARCAST_TEST_AGENT=" + n.Dir }

// killMarked ends what a killed agent leaves running: its plugins and what looks
// after tasks.
func (n *Nomad) killMarked() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ended := poll(ctx, 20*time.Millisecond, func() bool {
		left := n.marked()
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(left) == 0
	})
	if !ended {
		n.t.Errorf("nomad's processes %v do not end", n.marked())
	}
}

func (n *Nomad) marked() (pids []int) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		text, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), n.mark()) {
			continue // it has ended, or is another's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Unmount removes the mounts below a folder, which is absolute: a Nomad client leaves those of its tasks' secrets.
func Unmount(dir string) error {
	if dir = filepath.Clean(dir); !filepath.IsAbs(dir) || dir == "/" {
		return fmt.Errorf("unmount what is below %q: want the absolute path of a folder", dir)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	var failed error
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) { // what is mounted in another one first
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			if err := syscall.Unmount(fields[1], syscall.MNT_DETACH); err != nil {
				failed = errors.Join(failed, fmt.Errorf("unmount %s: %w", fields[1], err))
			}
		}
	}
	return failed
}
