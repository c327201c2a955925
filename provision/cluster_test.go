package provision_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/fleet/fleettest"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/configure"
	"github.com/nearcast/nearcast/provision/drain"
	"github.com/nearcast/nearcast/provision/secrets"
)

// server is a Consul and a Nomad with rendered configuration, at an address of
// its own.
type server struct {
	t                *testing.T
	ctx              context.Context
	address, secrets string
	env              string
	v                provision.Values
	consul, nomad    *exec.Cmd
}

// newServer configures one as a host is, from its folder of secrets.
func newServer(t *testing.T, ctx context.Context, keys string, v provision.Values, n int) *server {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { unmount(t, dir) })
	s := &server{t: t, ctx: ctx, address: network(n), secrets: filepath.Join(dir, "secrets"), env: filepath.Join(dir, "env")}
	v.Role, v.Node = provision.Server, fmt.Sprintf("server-%d", n)
	v.Address, v.HTTP, v.Interface = s.address, s.address, "lo"
	v.Ports.ConsulDNS = -1
	v.ConsulGroup = "root"
	v.Tuning = provision.Tuning{NoCloud: true, CPU: 4000, Drivers: []string{"raw_exec"}, DiskThreshold: 99}
	v.Paths = provision.Paths{
		ConsulConfig: filepath.Join(dir, "consul.d"), NomadConfig: filepath.Join(dir, "nomad.d"),
		ConsulData: filepath.Join(dir, "consul"), NomadData: filepath.Join(dir, "nomad"),
	}
	s.v = v.WithDefaults()
	if err := os.CopyFS(s.secrets, os.DirFS(filepath.Join(keys, v.Site, "server"))); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		changed, err := configure.Run(ctx, configure.Config{Root: "/", Secrets: s.secrets, Log: slog.Default()}, v)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 && len(changed) > 0 {
			t.Errorf("configuring again changed %v", changed)
		}
	}
	text := fmt.Sprintf("NEARCAST_SITE='%s'\nNEARCAST_PRIMARY_SITE='%s'\nNEARCAST_HTTP='%s'\n", v.Site, v.Primary, s.address)
	if err := os.WriteFile(s.env, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.consul = s.agent("consul", "agent", "-config-dir="+v.Paths.ConsulConfig)
	s.nomad = s.agent("nomad", "agent", "-config="+v.Paths.NomadConfig)
	return s
}

func (s *server) agent(name string, args ...string) *exec.Cmd {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.t.TempDir(), name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(fleettest.Binary(s.t, name), args...)
	cmd.Env = s.environ()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		kill(cmd)
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && s.t.Failed() {
			s.t.Logf("%s of %s:\n%s", name, s.address, tail(text))
		}
	})
	return cmd
}

// unmount takes away what a killed Nomad client leaves mounted: its tasks' secrets.
func unmount(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if path := strings.Fields(line)[1]; strings.HasPrefix(path, dir+"/") {
			if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", path, err)
			}
		}
	}
}

// kill is kill -9, once.
func kill(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
}

// environ has the tools, and nothing of AWS or of another cluster.
func (s *server) environ() []string {
	return []string{
		"PATH=" + filepath.Dir(fleettest.Binary(s.t, "consul")) + ":" + filepath.Dir(fleettest.Binary(s.t, "nomad")) + ":" + os.Getenv("PATH"),
		"HOME=" + filepath.Dir(s.env), "NEARCAST_ENV=" + s.env, "NEARCAST_SECRETS=" + s.secrets, "NEARCAST_HOME=..",
	}
}

// acl runs acl.sh until it works, and returns what it said then.
func (s *server) acl() (said string) {
	s.t.Helper()
	eventually(s.t, s.ctx, "acl.sh on "+s.address, func() error {
		cmd := exec.CommandContext(s.ctx, "./acl.sh")
		cmd.Env = s.environ()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		said = string(out)
		return nil
	})
	return said
}

func (s *server) secret(name string) string {
	text, err := os.ReadFile(filepath.Join(s.secrets, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// ask speaks to an agent's API; port tells which.
func (s *server) ask(method string, port int, path, token string, body, into any) error {
	var in bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&in).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(s.ctx, method, fmt.Sprintf("http://%s:%d%s", s.address, port, path), &in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &refusedError{res.StatusCode, string(text)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.text) }

const consulPort, nomadPort = 8500, 4646

// leader is the address of the leader that the server's Consul or Nomad follows.
func (s *server) leader(port int, token string) (string, error) {
	var address string
	err := s.ask("GET", port, "/v1/status/leader", token, nil, &address)
	if err == nil && address == "" {
		err = fmt.Errorf("there is no leader")
	}
	return address, err
}

// TestClusterOfThree runs three servers of one site and one of another with all
// that production has: TLS, gossip keys, ACLs that deny. It sets the ACLs up as
// hosts do, kills the leader, and expects the rest to go on.
func TestClusterOfThree(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	keys := t.TempDir()
	if _, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a", "site-b"}}); err != nil {
		t.Fatal(err)
	}
	const first = 11 // beside the machines of the other test
	a := provision.Values{Site: "site-a", Primary: "site-a", Join: []string{network(first), network(first + 1), network(first + 2)}}
	began := time.Now()
	stage := func(what string) { t.Logf("%4.1f s  %s", time.Since(began).Seconds(), what) }
	var three []*server
	for i := range 3 {
		three = append(three, newServer(t, ctx, keys, a, first+i))
	}
	management, nomadManagement := three[0].secret(provision.ConsulManagementFile), three[0].secret(provision.NomadManagementFile)
	if said := three[0].acl(); !strings.Contains(said, "Nomad's ACLs are set up") {
		t.Errorf("the first acl.sh says %q", said)
	}
	stage("ACLs are set up")
	if said := three[1].acl(); said != "acl: done\n" {
		t.Errorf("acl.sh on another server says %q", said)
	}
	b := newServer(t, ctx, keys, provision.Values{Site: "site-b", Primary: "site-a", Servers: 1, Join: []string{network(first + 3)}, JoinWAN: a.Join}, first+3)
	stage("the other site starts")
	b.acl()
	stage("the other site is set up")

	t.Run("gossip is encrypted", func(t *testing.T) {
		var self struct{ Stats map[string]map[string]string }
		for _, s := range append(three, b) {
			if err := s.ask("GET", consulPort, "/v1/agent/self", management, nil, &self); err != nil {
				t.Fatal(err)
			}
			if self.Stats["serf_lan"]["encrypted"] != "true" || self.Stats["serf_wan"]["encrypted"] != "true" {
				t.Errorf("consul of %s gossips in clear: %v", s.address, self.Stats["serf_lan"])
			}
			if err := s.ask("GET", nomadPort, "/v1/agent/self", nomadManagement, nil, &self); err != nil {
				t.Fatal(err)
			}
			if self.Stats["serf"]["encrypted"] != "true" {
				t.Errorf("nomad of %s gossips in clear: %v", s.address, self.Stats["serf"])
			}
		}
	})
	t.Run("nobody without a token", func(t *testing.T) {
		for port, path := range map[int]string{consulPort: "/v1/kv/any", nomadPort: "/v1/nodes"} {
			if err := three[1].ask("GET", port, path, "", nil, nil); !isRefused(err, 403) {
				t.Errorf("%s without a token: %v", path, err)
			}
		}
	})
	t.Run("an agent speaks for its own role only", func(t *testing.T) {
		stream, err := os.ReadFile(filepath.Join(keys, "site-a", "stream", provision.ConsulAgentFile))
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(stream))
		register := func(name string) error {
			return three[0].ask("PUT", consulPort, "/v1/catalog/register", token, map[string]any{"Node": name, "Address": "127.0.0.1"}, nil)
		}
		if err := register("stream-9"); err != nil {
			t.Errorf("a stream host cannot register itself: %v", err)
		}
		if err := register("server-9"); !isRefused(err, 403) {
			t.Errorf("a stream host registers as a server: %v", err)
		}
	})
	t.Run("TLS asks both sides", func(t *testing.T) {
		// Nomad's first byte 4 asks for TLS; a client without a certificate gets no
		// further than the handshake.
		if err := handshake(three[0].address+":4647", nil); err == nil {
			t.Error("Nomad's RPC takes a client without a certificate")
		}
		if err := handshake(three[0].address+":4647", &certificate{keys, "site-a", "stream"}); err != nil {
			t.Errorf("Nomad's RPC refuses a host's certificate: %v", err)
		}
	})
	t.Run("the sites know each other", func(t *testing.T) {
		eventually(t, ctx, "site-b answers site-a's questions", func() error {
			// The token was made at the primary site; site-b has copied it.
			if err := three[0].ask("PUT", consulPort, "/v1/kv/test/wan?dc=site-b", management, "x", nil); err != nil {
				return err
			}
			var regions []string
			if err := three[0].ask("GET", nomadPort, "/v1/regions", nomadManagement, nil, &regions); err != nil {
				return err
			}
			if len(regions) != 2 {
				return fmt.Errorf("nomad knows %v", regions)
			}
			return three[0].ask("GET", nomadPort, "/v1/nodes?region=site-b", nomadManagement, nil, nil)
		})
	})
	t.Run("without its leader it goes on", func(t *testing.T) {
		lost := map[string]bool{}
		address, err := three[0].leader(consulPort, management)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range three {
			if strings.HasPrefix(address, s.address+":") {
				lost[s.address] = true
				kill(s.consul)
				kill(s.nomad)
			}
		}
		if len(lost) != 1 {
			t.Fatalf("the leader is %s; killed %v", address, lost)
		}
		for _, s := range three {
			if lost[s.address] {
				continue
			}
			eventually(t, ctx, "a write through "+s.address, func() error {
				if err := s.ask("PUT", consulPort, "/v1/kv/test/after", management, "x", nil); err != nil {
					return err
				}
				return s.ask("PUT", nomadPort, "/v1/jobs", nomadManagement, map[string]any{"Job": map[string]any{
					"ID": "after", "Name": "after", "Type": "batch", "Datacenters": []string{"*"}, "NodePool": "control",
					// The dead one counts as ready until its heartbeat is missed.
					"Constraints": []any{map[string]any{"LTarget": "${node.unique.name}", "Operand": "=", "RTarget": s.v.Node}},
					"TaskGroups": []any{map[string]any{"Name": "g", "Tasks": []any{map[string]any{
						"Name": "t", "Driver": "raw_exec", "Config": map[string]any{"command": "/bin/true"}}}}},
				}}, nil)
			})
		}
		eventually(t, ctx, "the job runs", func() error {
			var allocs []struct{ ClientStatus string }
			for _, s := range three {
				if lost[s.address] {
					continue
				}
				if err := s.ask("GET", nomadPort, "/v1/job/after/allocations", nomadManagement, nil, &allocs); err != nil {
					return err
				}
			}
			for _, a := range allocs {
				if a.ClientStatus == "complete" {
					return nil
				}
			}
			return fmt.Errorf("allocations: %v", allocs)
		})
	})
	t.Run("a host drains itself", func(t *testing.T) {
		node := drain.NomadNode{
			Address: "http://" + b.address + ":4646", IDFile: filepath.Join(b.v.Paths.NomadData, "client", "client-id"),
			Statement: filepath.Join(keys, "site-b", "server", provision.NomadHostFile),
		}
		eventually(t, ctx, "drain", func() error {
			if err := node.Drain(ctx, time.Minute, "test"); err != nil {
				return err
			}
			return node.Drained(ctx)
		})
		// A statement that another operator signed.
		others := t.TempDir()
		if _, err := secrets.Make(secrets.Config{Dir: others, Sites: []string{"site-b"}}); err != nil {
			t.Fatal(err)
		}
		node.Statement = filepath.Join(others, "site-b", "server", provision.NomadHostFile)
		if err := node.Drain(ctx, time.Minute, "test"); err == nil || !strings.Contains(err.Error(), "log in") {
			t.Errorf("a stranger's statement: %v", err)
		}
	})
}

func isRefused(err error, status int) bool {
	e, ok := err.(*refusedError)
	return ok && e.status == status
}
