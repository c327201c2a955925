package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

	agent                       *testkit.Nomad
	consulAddress, nomadAddress string
	seatToken, driverToken      string
	management                  string
}

func newSite(t *testing.T) *site {
	if testing.Short() {
		t.Skip("starts real agents")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: Nomad's clients do")
	}
	management := uuid.NewString()
	consul, agent := testkit.StartSecureConsul(t, management), testkit.NewNomad(t)
	s := &site{t: t, ctx: testkit.Context(t, 10*time.Minute), dir: agent.Dir, agent: agent, management: management,
		consulAddress: consul.Address, nomadAddress: agent.Address}
	takePrograms(t, s.path("bin"))
	s.command(s.path("bin/nearcast"), "ticket-key", s.path("keys"))

	s.env = append(testkit.Environ(), "CONSUL_HTTP_ADDR=http://"+s.consulAddress, "CONSUL_HTTP_TOKEN="+s.management,
		"NOMAD_ADDR=http://"+s.nomadAddress, "NOMAD_TOKEN="+s.management)
	// Nomad's own token, the seats' and the driver's, before their agents start.
	for _, part := range []string{"nomad-server", "nomad-client", "seat", "driver"} {
		s.command("consul", "acl", "policy", "create", "-name=nearcast-"+part, "-rules=@../../acl/consul/"+part+".hcl")
	}
	nomadToken := s.consulToken("nomad-server", "nomad-client")
	s.seatToken, s.driverToken = s.consulToken("seat"), s.consulToken("driver")
	s.startNomad(nomadToken)
	s.command("../../acl/apply.sh")
	return s
}

// built is a folder with the programs of all sites.
var built string

func TestMain(m *testing.M) {
	var err error
	if built, err = os.MkdirTemp("/tmp", "ncp"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(built)
	os.Exit(code)
}

// takePrograms puts the programs into a site's own folder, by which its processes are found.
func takePrograms(t *testing.T, dir string) {
	t.Helper()
	testkit.BuildAll(t, built)
	testkit.Must(t, filepath.WalkDir(built, func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(dir, strings.TrimPrefix(path, built))
		if err != nil || !d.IsDir() {
			return errors.Join(err, os.Link(path, to))
		}
		return os.MkdirAll(to, 0o755)
	}))
}

func (s *site) startNomad(consulToken string) {
	s.agent.Start(fmt.Sprintf(`
region     = "dc1"
plugin_dir = %q
acl { enabled = true }
client {
  node_class        = "stream-cpu" # as in provision/templates: the pool's name
  cpu_total_compute = 16000
  options = { "driver.allowlist" = "stream,raw_exec" }
}
plugin "raw_exec" {
  config { enabled = true }
}
consul {
  address        = %q
  token          = %q
  auto_advertise = true
}
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    run_dir     = %q
    ticket_keys = %q
    cache { dir = %q }
    consul {
      address = %q
      token   = %q
      registrar_token = %q
    }
    listen {
      api      = "127.0.0.1"
      loopback = true
    }
  }
}
`, s.path("bin/plugins"), s.consulAddress, consulToken,
		s.path("bin/stream-host"), s.path("run"), s.path("keys/ticket-keys.pem"), s.path("cache"), s.consulAddress, s.seatToken, s.driverToken))
	s.write("bootstrap", s.management)
	s.until("nomad takes its first token", func() error {
		out, code := s.try("nomad", "acl", "bootstrap", s.path("bootstrap"))
		if code != 0 && !strings.Contains(out, "already done") {
			return errors.New(out)
		}
		return nil
	})
	s.agent.Token = s.management
	s.agent.WaitReady("stream")
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

// try runs a command and gives its output and its exit code.
func (s *site) try(name string, args ...string) (string, int) {
	if !strings.Contains(name, "/") {
		if path, err := testkit.FindTool(name); err == nil {
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

func (s *site) nomadGet(path string, into any) error { return s.agent.Get(s.ctx, path, into) }

func (s *site) get(url string, into any) error {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
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

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
