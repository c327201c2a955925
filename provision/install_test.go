package provision_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/fleet/fleettest"
	"github.com/nearcast/nearcast/provision/clustertest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// release puts a release together as make release does, from what is built here.
func release(t *testing.T, ctx context.Context) string {
	t.Helper()
	for _, name := range []string{"consul", "nomad"} {
		fleettest.Binary(t, name) // or skip
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	for out, pkg := range map[string]string{"nearcast": "nearcast", "plugins/nomad-driver-stream": "nomad-driver-stream", "stream-host": "stream-host"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bin, out), "../cmd/"+pkg)
		cmd.Env = os.Environ()
		if pkg != "stream-host" {
			cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", pkg, err, out)
		}
	}
	cmd := exec.CommandContext(ctx, "bash", "release.sh", filepath.Join(dir, "release"))
	cmd.Env = append(os.Environ(), "NEARCAST="+filepath.Join(bin, "nearcast"), "BIN="+bin, "VERSION=test", "ARCHIVE=no")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("release.sh: %v: %s", err, out)
	}
	return filepath.Join(dir, "release")
}

func network(n int) string { return clustertest.Network(n) }

var changedLine = regexp.MustCompile(`(?m)^changed=(\d+)$`)

// TestBareMachines makes a server, an edge node and a stream host of three bare
// machines by install.sh, twice; then their agents, as the units start them, form
// a site.
func TestBareMachines(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	bare(t, ctx)
	began := time.Now()
	dir := release(t, ctx)
	t.Logf("release after %.0f s", time.Since(began).Seconds())
	keys := t.TempDir()
	if _, err := secrets.Make(secrets.Config{Dir: keys, Sites: []string{"site-a"}}); err != nil {
		t.Fatal(err)
	}
	roles := []string{"server", "edge", "stream"}
	machines := map[string]*machine{}
	for i, role := range roles {
		env := fmt.Sprintf(`# as user data writes it
NEARCAST_ROLE='%s'
NEARCAST_SITE='site-a'
NEARCAST_NODE='%s-1'
NEARCAST_SERVERS='1'
NEARCAST_JOIN='%s'
NEARCAST_ADDRESS='%s'
NEARCAST_HTTP='%s'
NEARCAST_INTERFACE='lo'
NEARCAST_CPU='8000'
NEARCAST_NO_CLOUD='yes'
NEARCAST_BACKUP_URL='file:///var/backups/nearcast'
`, role, role, network(1), network(i+1), network(i+1))
		file := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(file, []byte(env), 0o644); err != nil {
			t.Fatal(err)
		}
		m := newMachine(t, ctx, role, map[string]string{"release": dir, "secrets": filepath.Join(keys, "site-a", role), "env": filepath.Dir(file)})
		machines[role] = m
		install := []string{"sh", "/run/release/provision/install.sh", "--role", role, "--env", "/run/env/env", "--release", "/run/release"}
		if role == "server" {
			refusals(t, m)
		}
		m.run("sh", "-c", "mkdir -p -m 700 /etc/nearcast/secrets && cp /run/secrets/* /etc/nearcast/secrets/")
		first := m.run(install...)
		if found := changedLine.FindStringSubmatch(first); found == nil || found[1] == "0" {
			t.Fatalf("%s: the first run says %q", role, tail([]byte(first)))
		}
		before := m.snapshot()
		if len(before) < 5000 {
			t.Fatalf("%s: a snapshot of %d files is none", role, len(before))
		}
		second := m.run(install...)
		if !strings.HasSuffix(second, "changed=0\n") || strings.Contains(second, "install:") {
			t.Errorf("%s: the second run says %q", role, tail([]byte(second)))
		}
		if after := m.snapshot(); !maps.Equal(before, after) {
			t.Errorf("%s: the second run changed %s", role, difference(before, after))
		}
		t.Logf("%s, twice, after %.0f s", role, time.Since(began).Seconds())
		m.run("consul", "validate", "/etc/consul.d")
		m.run("nomad", "config", "validate", "/etc/nomad.d")
	}
	if t.Failed() {
		return
	}

	server := machines["server"]
	server.service("consul")
	server.service("nomad")
	eventually(t, ctx, "acl.sh", func() error {
		out, err := server.try("/opt/nearcast/provision/acl.sh")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	for _, role := range []string{"edge", "stream"} {
		machines[role].service("consul")
		machines[role].service("nomad")
	}
	token := strings.TrimSpace(server.run("cat", "/etc/nearcast/secrets/nomad-management.token"))
	want := map[string]string{"server-1": "control", "edge-1": "edge", "stream-1": "stream-cpu"}
	eventually(t, ctx, "three ready nodes in their pools", func() error {
		out, err := server.command([]string{"NOMAD_TOKEN=" + token, "NOMAD_ADDR=http://" + network(1) + ":4646"}, "nomad", "node", "status", "-json").Output()
		if err != nil {
			return err
		}
		var nodes []struct {
			Name, Status, NodePool string
			Drivers                map[string]struct {
				Healthy           bool
				HealthDescription string
			}
		}
		if err := json.Unmarshal(out, &nodes); err != nil {
			return err
		}
		have := map[string]string{}
		for _, n := range nodes {
			if n.Status == "ready" {
				have[n.Name] = n.NodePool
			}
			if n.Name == "stream-1" && !n.Drivers["stream"].Healthy {
				return fmt.Errorf("the stream driver is not healthy: %s", n.Drivers["stream"].HealthDescription)
			}
		}
		if !maps.Equal(want, have) {
			return fmt.Errorf("there are %v", have)
		}
		return nil
	})
	for _, name := range strings.Fields(strings.ReplaceAll(server.run("/opt/nearcast/provision/backup.sh"), "backup: file://", "")) {
		program := map[bool][]string{true: {"consul", "snapshot"}, false: {"nomad", "operator", "snapshot"}}[strings.Contains(name, "/consul-")]
		if out := server.run(append(program, "inspect", name)...); !strings.Contains(out, "Index") {
			t.Errorf("%s: %s", name, out)
		}
	}
	token = strings.TrimSpace(server.run("cat", "/etc/nearcast/secrets/consul-management.token"))
	eventually(t, ctx, "three members of Consul", func() error {
		out, err := server.command([]string{"CONSUL_HTTP_TOKEN=" + token, "CONSUL_HTTP_ADDR=http://" + network(1) + ":8500"}, "consul", "members").CombinedOutput()
		if err != nil || strings.Count(string(out), "alive") != 3 {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// refusals are what install.sh says to who calls it wrongly; it has to touch
// nothing before.
func refusals(t *testing.T, m *machine) {
	t.Helper()
	before := m.snapshot()
	for _, c := range []struct{ args, says string }{
		{"--role chef", `--role is "chef"`},
		{"--role", "--role needs a value"},
		{"--speed fast", "--speed means nothing"},
		{"--role edge", "there is no /etc/nearcast/provision.env"},
		{"--role edge --env /run/env/env", "NEARCAST_ROLE=server"},
	} {
		out, err := m.try(append([]string{"/run/release/provision/install.sh"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(out, c.says) {
			t.Errorf("install.sh %s: %v, and says %q", c.args, err, out)
		}
	}
	if after := m.snapshot(); !maps.Equal(before, after) {
		t.Errorf("refusing changed %s", difference(before, after))
	}
}

func difference(before, after map[string]string) string {
	var all []string
	for path, was := range before {
		if is, ok := after[path]; !ok {
			all = append(all, "- "+path)
		} else if is != was {
			all = append(all, fmt.Sprintf("~ %s (%s → %s)", path, was, is))
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			all = append(all, "+ "+path)
		}
	}
	slices.Sort(all)
	return strings.Join(all[:min(len(all), 20)], "\n")
}
