package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/nearcast/nearcast/internal/testkit"
)

// site is a Consul and a Nomad that deny by default, with the project's policies
// in place and nothing else.
type site struct {
	t   *testing.T
	ctx context.Context
	dir string
	env []string // of every command: addresses and management tokens

	consulAddress, nomadAddress string
	seatToken                   string
	management                  string
}

func newSite(t *testing.T) *site {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	for _, name := range []string{"consul", "nomad"} {
		if _, err := tool(name); err != nil {
			t.Skip(err)
		}
	}
	// Sockets below it are reached by a path of at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "ncj")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	s := &site{t: t, ctx: ctx, dir: dir, management: uuid.NewString()}
	t.Cleanup(func() {
		cancel()
		s.unmount()
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	for name, pkg := range map[string]string{"nearcast": "cmd/nearcast", "plugins/nomad-driver-stream": "plugins/nomad-driver-stream", "stream-host": "cmd/stream-host"} {
		s.build(name, "../../"+pkg)
	}
	s.build("testapp", "../../dev/testapp")
	s.command(s.path("bin/nearcast"), "ticket-key", s.path("keys"))

	ports := testkit.Ports(t, 7)
	s.consulAddress, s.nomadAddress = local(ports[0]), local(ports[4])
	s.env = append(cleanEnviron(), "CONSUL_HTTP_ADDR=http://"+s.consulAddress, "CONSUL_HTTP_TOKEN="+s.management,
		"NOMAD_ADDR=http://"+s.nomadAddress, "NOMAD_TOKEN="+s.management, "PATH="+toolPath())
	s.startConsul(ports)
	// Nomad's own token, and the seats', before their agents start.
	for _, part := range []string{"nomad-server", "nomad-client", "seat"} {
		s.command("consul", "acl", "policy", "create", "-name=nearcast-"+part, "-rules=@../../acl/consul/"+part+".hcl")
	}
	nomadToken := s.consulToken("nomad-server", "nomad-client")
	s.seatToken = s.consulToken("seat")
	s.startNomad(ports, nomadToken)
	for range 2 { // the second time changes nothing, and does not mind
		s.command("../../acl/apply.sh")
	}
	return s
}

func (s *site) startConsul(ports []int) {
	s.write("consul.json", fmt.Sprintf(`{
		"datacenter": "dc1", "node_name": "n1", "server": true, "bootstrap_expect": 1, "data_dir": %q,
		"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "disable_update_check": true, "connect": {"enabled": false},
		"performance": {"raft_multiplier": 1},
		"acl": {"enabled": true, "default_policy": "deny", "tokens": {"initial_management": %q, "agent": %q}},
		"ports": {"http": %d, "server": %d, "serf_lan": %d, "serf_wan": %d, "dns": -1, "grpc": -1, "grpc_tls": -1}
	}`, s.path("consul"), s.management, s.management, ports[0], ports[1], ports[2], ports[3]))
	s.start("consul", "agent", "-config-file="+s.path("consul.json"))
	s.until("consul has a leader and its own node", func() error {
		out, code := s.try("consul", "catalog", "nodes", "-service=consul")
		if code != 0 || !strings.Contains(out, "n1") {
			return errors.New(out)
		}
		return nil
	})
}

func (s *site) startNomad(ports []int, consulToken string) {
	s.write("nomad.hcl", fmt.Sprintf(`
region     = "dc1"
datacenter = "dc1"
name       = "n1"
data_dir   = %q
plugin_dir = %q
bind_addr  = "127.0.0.1"
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
acl { enabled = true }
server {
  enabled          = true
  bootstrap_expect = 1
  raft_multiplier  = 1
}
client {
  enabled           = true
  node_class        = "stream-cpu" # as in provision/templates: the pool's name
  network_interface = "lo"
  cpu_total_compute = 16000
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
    "driver.allowlist"     = "stream,raw_exec"
  }
}
plugin "raw_exec" {
  config { enabled = true }
}
consul {
  address          = %q
  token            = %q
  client_auto_join = false
  server_auto_join = false
}
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    run_dir     = %q
    ticket_keys = %q
    user        = "nobody"
    cache { dir = %q }
    consul {
      address = %q
      token   = %q
    }
    listen {
      api      = "127.0.0.1"
      loopback = true
    }
  }
}
`, s.path("data"), s.path("bin/plugins"), ports[4], ports[5], ports[6], s.consulAddress, consulToken,
		s.path("bin/stream-host"), s.path("run"), s.path("keys/ticket-keys.pem"), s.path("cache"), s.consulAddress, s.seatToken))
	s.start("nomad", "agent", "-config="+s.path("nomad.hcl"))
	s.write("bootstrap", s.management)
	s.until("nomad takes its first token", func() error {
		out, code := s.try("nomad", "acl", "bootstrap", s.path("bootstrap"))
		if code != 0 && !strings.Contains(out, "already done") {
			return errors.New(out)
		}
		return nil
	})
	s.until("the node is ready and its stream driver healthy", func() error {
		var nodes []struct {
			Status  string
			Drivers map[string]struct{ Healthy bool }
		}
		if err := s.nomadGet("/v1/nodes", &nodes); err != nil {
			return err
		}
		if len(nodes) != 1 || nodes[0].Status != "ready" || !nodes[0].Drivers["stream"].Healthy {
			return fmt.Errorf("nodes: %+v", nodes)
		}
		return nil
	})
	s.t.Cleanup(s.stopJobs)
}

// stopJobs ends what runs in Nomad: its tasks outlive its agent.
func (s *site) stopJobs() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.ctx = ctx // the test's own may have run out
	var jobs []struct{ ID, Status string }
	if err := s.nomadGet("/v1/jobs", &jobs); err != nil {
		s.t.Error(err)
		return
	}
	for _, job := range jobs {
		s.try("nomad", "job", "stop", "-detach", job.ID)
	}
	s.until("no task runs", func() error {
		var allocs []struct{ ID, ClientStatus string }
		if err := s.nomadGet("/v1/allocations", &allocs); err != nil {
			return err
		}
		for _, a := range allocs {
			if a.ClientStatus == "running" || a.ClientStatus == "pending" {
				return fmt.Errorf("%s is %s", a.ID, a.ClientStatus)
			}
		}
		return nil
	})
}

// consulToken makes a token with some of the project's policies.
func (s *site) consulToken(parts ...string) string {
	args := []string{"acl", "token", "create", "-format=json"}
	for _, part := range parts {
		args = append(args, "-policy-name=nearcast-"+part)
	}
	var token struct{ SecretID string }
	if err := json.Unmarshal([]byte(s.command("consul", args...)), &token); err != nil {
		s.t.Fatal(err)
	}
	return token.SecretID
}

// start runs a server until the test ends.
func (s *site) start(name string, args ...string) {
	s.t.Helper()
	path, err := tool(name)
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(s.path(name + ".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Env = cleanEnviron()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if s.t.Failed() {
			s.t.Logf("the logs are in %s", s.dir)
		}
	})
}

// try runs a command and gives its output and its exit code.
func (s *site) try(name string, args ...string) (string, int) {
	if !strings.Contains(name, "/") {
		if path, err := tool(name); err == nil {
			name = path
		}
	}
	cmd := exec.CommandContext(s.ctx, name, args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// command is try for what has to work.
func (s *site) command(name string, args ...string) string {
	s.t.Helper()
	out, code := s.try(name, args...)
	if code != 0 {
		s.t.Fatalf("%s %s: exit code %d: %s", name, strings.Join(args, " "), code, out)
	}
	return out
}

func (s *site) nomad(args ...string) {
	s.t.Helper()
	s.command("nomad", args...)
}

func (s *site) nomadGet(path string, into any) error {
	return s.fetch("http://"+s.nomadAddress+path, s.management, into)
}

func (s *site) get(url string, into any) error { return s.fetch(url, "", into) }

func (s *site) fetch(url, token string, into any) error {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// unmount takes away what a Nomad client leaves mounted for allocations that it
// keeps to be looked at.
func (s *site) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		s.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], s.dir+"/") {
			if err := syscall.Unmount(fields[1], 0); err != nil {
				s.t.Errorf("unmount %s: %v", fields[1], err)
			}
		}
	}
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) build(name, pkg string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, "go", "build", "-o", s.path("bin/"+name), pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// tool finds a server where the developer's cluster keeps it, or on PATH.
func tool(name string) (string, error) {
	for dir := range strings.SplitSeq(toolPath(), ":") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is neither in PATH nor in $NEARCAST_TOOLS_DIR", name)
}

func toolPath() string {
	dir := os.Getenv("NEARCAST_TOOLS_DIR")
	if home, err := os.UserHomeDir(); err == nil && dir == "" {
		dir = filepath.Join(home, ".cache", "nearcast", "tools", "bin")
	}
	return dir + ":" + os.Getenv("PATH")
}

// cleanEnviron is without what would lead an agent or a command elsewhere.
func cleanEnviron() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(kv, "NOMAD_") && !strings.HasPrefix(kv, "CONSUL_") && !strings.HasPrefix(kv, "PATH=") {
			env = append(env, kv)
		}
	}
	return append(env, "PATH="+os.Getenv("PATH"))
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
