package driver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// agent is a real Nomad agent, server and client in one, with the built plugin, and
// a real Consul agent beside it.
type agent struct {
	t      *testing.T
	dir    string
	nomad  string // binary
	http   string
	config string
	plugin string
	cmd    *exec.Cmd
	exited chan struct{}
	// real is whether cmd/stream-host runs the seats. The fake one does where the
	// real one does not build, or $NEARCAST_FAKE_STREAM_HOST is set.
	real bool
}

// newAgent starts both. plugin is added to the plugin's config.
func newAgent(t *testing.T, plugin string) *agent {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real agents")
	}
	nomad, err := tool("nomad")
	if err != nil {
		t.Skip(err)
	}
	a := &agent{t: t, dir: shortTempDir(t), nomad: nomad}
	os.Chmod(a.dir, 0o755) // the app's user must reach its directory
	a.plugin = filepath.Join(a.dir, "plugins", "nomad-driver-stream")
	streamHost := filepath.Join(a.dir, "stream-host")
	a.build(a.plugin, "../plugins/nomad-driver-stream")
	a.real = os.Getenv("NEARCAST_FAKE_STREAM_HOST") == "" && a.build(streamHost, "../cmd/stream-host") == nil
	if a.real {
		a.build(filepath.Join(a.dir, "testapp"), "../dev/testapp")
	} else {
		streamHost, _ = os.Executable()
	}
	// Like root's home: apps cannot enter it and do not need to.
	closed := filepath.Join(a.dir, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if !a.real || !isRoot {
		os.Chmod(closed, 0o755) // no isolation
	}
	keys := filepath.Join(a.dir, "keys.pem")
	writeKeys(t, keys)
	ports := freePorts(t, 3)
	consul := a.startConsul()
	a.http = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	a.config = filepath.Join(a.dir, "agent.hcl")
	config := fmt.Sprintf(`
name                 = "test"
data_dir             = %q
plugin_dir           = %q
bind_addr            = "127.0.0.1"
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
  enabled           = true
  network_interface = "lo"
  cpu_total_compute = 8000
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
    "driver.allowlist"     = "stream"
  }
}
telemetry {
  # Without it, Nomad asks no driver for statistics.
  publish_allocation_metrics = true
}
consul {
  address          = %q
  auto_advertise   = false
  client_auto_join = false
  server_auto_join = false
}
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    run_dir     = %q
    ticket_keys = %q
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
`, filepath.Join(closed, "data"), filepath.Join(a.dir, "plugins"), ports[0], ports[1], ports[2],
		consul, streamHost, filepath.Join(a.dir, "run"), keys, filepath.Join(a.dir, "cache"), consul, plugin)
	if err := os.WriteFile(a.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.end)
	a.start()
	return a
}

func (a *agent) build(out, pkg string) error {
	if _, err := os.Stat(pkg); err != nil {
		return err
	}
	cmd := exec.CommandContext(a.t.Context(), "go", "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false -mod=mod")
	if b, err := cmd.CombinedOutput(); err != nil {
		a.t.Logf("build %s: %v\n%s", pkg, err, b)
		return err
	}
	return nil
}

// tool finds a server binary where the developer's cluster keeps it.
func tool(name string) (string, error) {
	dir := os.Getenv("NEARCAST_TOOLS_DIR")
	if dir == "" {
		if home, err := os.UserHomeDir(); err == nil {
			dir = filepath.Join(home, ".cache", "nearcast", "tools", "bin")
		}
	}
	if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
		return p, nil
	}
	p, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither in PATH nor in $NEARCAST_TOOLS_DIR", name)
	}
	return p, nil
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out
}

func writeKeys(t *testing.T, path string) {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

// startConsul starts the Consul that seats register with.
func (a *agent) startConsul() (address string) {
	consul, err := tool("consul")
	if err != nil {
		a.t.Logf("seats will not register: %v", err)
		return "127.0.0.1:1"
	}
	p := freePorts(a.t, 5)
	cmd := exec.Command(consul, "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn",
		fmt.Sprintf("-http-port=%d", p[0]), fmt.Sprintf("-server-port=%d", p[1]), fmt.Sprintf("-serf-lan-port=%d", p[2]),
		fmt.Sprintf("-serf-wan-port=%d", p[3]), fmt.Sprintf("-grpc-port=%d", p[4]), "-grpc-tls-port=-1", "-dns-port=-1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return fmt.Sprintf("127.0.0.1:%d", p[0])
}

func (a *agent) start() {
	a.t.Helper()
	log, err := os.OpenFile(filepath.Join(a.dir, "agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	a.cmd = exec.Command(a.nomad, "agent", "-config="+a.config)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_CA_BUNDLE=") && !strings.HasPrefix(kv, "NOMAD_") {
			a.cmd.Env = append(a.cmd.Env, kv)
		}
	}
	a.cmd.Env = append(a.cmd.Env, `GST_FAKE_FINGERPRINT={"version":"v0.3.0","gstreamer":"1.22.0","encoders":["x264enc","vp8enc"],"display":"Xvfb 21.1","sound":"pulseaudio 16.1"}`)
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.exited = make(chan struct{})
	go func() { a.cmd.Wait(); close(a.exited) }()
	// A client that asks before the server has its keys retries after 15 s.
	within(a.t, time.Minute, "the node is ready and its stream driver healthy", func() bool {
		var nodes []struct {
			Status  string
			Drivers map[string]struct{ Healthy bool }
		}
		return a.get("/v1/nodes", &nodes) == nil && len(nodes) == 1 && nodes[0].Status == "ready" && nodes[0].Drivers["stream"].Healthy
	})
}

// kill ends the agent as a crash does. Plugin and seats continue.
func (a *agent) kill() {
	a.cmd.Process.Kill()
	<-a.exited
}

func (a *agent) end() {
	a.kill()
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
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], a.dir+"/") {
			unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	if a.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(a.dir, "agent.log"))
		lines := bytes.Split(log, []byte("\n"))
		a.t.Logf("agent log ends:\n%s", bytes.Join(lines[max(0, len(lines)-60):], []byte("\n")))
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

func (a *agent) get(path string, into any) error {
	res, err := http.Get(a.http + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", res.Status, b)
	}
	return json.Unmarshal(b, into)
}

// cli is the nomad command, as operators use it.
func (a *agent) cli(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.nomad, args...)
	cmd.Env = append(os.Environ(), "NOMAD_ADDR="+a.http)
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
		script = a.dir + "/testapp & " + script
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

// seat is the stream host of an allocation.
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
