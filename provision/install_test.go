package provision_test

import (
	"context"
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

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// release builds our programs and assembles a release, as make release does, and a folder
// with an app.
func release(t *testing.T, ctx context.Context) (dir, apps string) {
	t.Helper()
	for _, name := range []string{"consul", "nomad"} {
		testkit.Tool(t, name) // or skip
	}
	dir = t.TempDir()
	bin, apps := filepath.Join(dir, "bin"), filepath.Join(dir, "apps")
	testkit.BuildAll(t, bin, "nearcast", "nomad-autoscaler-seats", "plugins/nomad-driver-stream", "plugins/nomad-device-seats", "seat-keeper", "stream-host", "nearcast-app", "nearcast-gamepad.so")
	testkit.BuildAll(t, apps, "testapp")
	cmd := exec.CommandContext(ctx, "bash", "release.sh", filepath.Join(dir, "release"))
	cmd.Env = append(os.Environ(), "NEARCAST="+filepath.Join(bin, "nearcast"), "BIN="+bin, "VERSION=test", "ARCHIVE=no")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("release.sh: %v: %s", err, out)
	}
	return filepath.Join(dir, "release"), apps
}

func network(n int) string { return nodetest.Network(n) }

var changedLine = regexp.MustCompile(`(?m)^changed=(\d+)$`)

// TestBareMachines runs install.sh twice on three bare machines, which become a server, an
// edge node and a stream node. systemd boots them, and they form a site: its units start,
// restart and end as on a real node. The edge node is installed as an image without systemd,
// and then booted.
func TestBareMachines(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 17*time.Minute)
	defer cancel()
	bare(t, ctx)
	s := &bareSite{t: t, ctx: ctx, began: time.Now(), cloud: awstest.New(t), keys: t.TempDir(), machines: map[string]*machine{}}
	dir, apps := release(t, ctx)
	s.stage("there is a release")
	if _, err := secrets.Make(secrets.Config{Dir: s.keys, Sites: []string{"site-a"}}); err != nil {
		t.Fatal(err)
	}
	for i, role := range []string{"server", "edge", "stream"} {
		s.install(role, i+1, map[string]string{"release": dir, "apps": apps})
	}
	if t.Failed() {
		return
	}
	s.forms()
	for role, m := range s.machines {
		m.again(m.job)
		m.run("consul", "validate", "/etc/consul.d")
		m.run("nomad", "config", "validate", "/etc/nomad.d")
		s.stage(role + " is installed again")
	}
	s.units()
	s.firewall()
	s.saves()
	s.renews()
	s.outlives()
	s.comesBack()
	s.recovers()
	s.reboots()
	s.ends()
}

// install runs install.sh on a bare machine, and again.
func (s *bareSite) install(role string, n int, shown map[string]string) {
	s.t.Helper()
	env := fmt.Sprintf(`# in the form of user data
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
`, role, role, network(1), network(n), network(n))
	if role == "edge" {
		env += "NEARCAST_ASG='edge'\nNEARCAST_HOOK='drain'\nNEARCAST_READY_HOOK='ready'\n"
	}
	shown["secrets"], shown["env"] = filepath.Join(s.keys, "site-a", role), s.t.TempDir()
	m := newMachine(s.t, s.ctx, role, shown)
	s.machines[role] = m
	if role == "stream" {
		if volume := m.volume(); volume != "" {
			env += "NEARCAST_CACHE_DEVICE='" + volume + "'\n"
		} else {
			s.t.Log("the cache has no volume: there is no loop device here")
		}
	}
	if err := os.WriteFile(filepath.Join(shown["env"], "env"), []byte(env), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if role == "edge" {
		m.start("sleep", "infinity")
	} else {
		m.boot()
	}
	if role == "server" {
		refusals(s.t, m)
		m.holds()
	}
	if role == "stream" {
		m.netOfFirewall()
	}
	began := time.Now()
	if role == "edge" {
		m.image()
		s.cloud.Region = "site-a"
		// The real metadata service has the same address everywhere.
		m.write("/etc/systemd/system/nearcast-.service.d/test.conf", "[Service]\nEnvironment="+strings.Join(s.cloud.Environment(), " ")+"\n")
		m.off()
		began = time.Now()
		s.late(m)
	} else {
		m.run("sh", "-c", "mkdir -p -m 700 /etc/nearcast/secrets && cp /run/secrets/* /etc/nearcast/secrets/")
		m.first(m.job)
	}
	s.t.Logf("%s: %.1f s until install.sh had run, as %s", role, time.Since(began).Seconds(), map[bool]string{true: "an image, with its boot", false: "a bare machine"}[role == "edge"])
	s.stage(role + " is installed")
}

// image makes an image of the machine, twice, and finds nothing of a node in it.
func (m *machine) image() {
	m.t.Helper()
	install := []string{"sh", "/run/release/provision/install.sh", "--role", m.name, "--release", "/run/release", "--image"}
	if said := m.run(install...); !changedLine.MatchString(said) || strings.Contains(said, "changed=0\n") {
		m.t.Fatalf("%s: the image prints %q", m.name, tail([]byte(said)))
	}
	before := m.snapshot()
	if said := m.run(install...); !strings.HasSuffix(said, "changed=0\n") || strings.Contains(said, "install:") {
		m.t.Errorf("%s: the image prints %q the second time", m.name, tail([]byte(said)))
	}
	if after := m.snapshot(); !maps.Equal(before, after) {
		m.t.Errorf("%s: the second time changed %s", m.name, difference(before, after))
	}
	for _, dir := range []string{"/etc/nearcast", "/etc/consul.d", "/etc/nomad.d"} {
		if said := m.run("find", dir, "-type", "f"); said != "" {
			m.t.Errorf("%s: the image has %s", m.name, said)
		}
	}
	if said := m.run("cat", "/etc/machine-id"); said != "" {
		m.t.Errorf("%s: all nodes of the image would be %s", m.name, said)
	}
	m.write("/etc/nearcast/secrets/consul-agent.token", "secret")
	if said, err := m.try(install...); err == nil || !strings.Contains(said, "is or was a node") {
		m.t.Errorf("%s: an image of a node: %v, %s", m.name, err, said)
	}
	m.run("rm", "/etc/nearcast/secrets/consul-agent.token")
}

// late boots an image, and installs it before there are secrets. install.sh says so, and
// the units go on, while other machines are installed.
func (s *bareSite) late(m *machine) {
	s.t.Helper()
	const secrets = "/etc/nearcast/secrets"
	m.boot()
	said, err := m.try(append([]string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect"}, m.installation()...)...)
	if err == nil || !strings.Contains(said, "is missing in "+secrets) || !strings.Contains(said, "nearcast-configure.service goes on trying") {
		s.t.Errorf("install.sh without secrets: %v, %s", err, said)
	}
	for _, name := range []string{"nearcast-configure", "consul", "nomad"} {
		s.until(name+" waits", func() error { return m.unit(name).is("activating auto-restart exit-code") })
	}
	s.until("nearcast-ready waits", func() error { return m.unit("nearcast-ready").is("active running success") })
	if said := s.hook(); strings.Contains(said, "CONTINUE") {
		s.t.Errorf("the group heard %s of a node without secrets", said)
	}
	m.run("sh", "-c", "cp /run/secrets/* "+secrets)
}

// hook is what the launch hook of the edge node's group heard.
func (s *bareSite) hook() string {
	s.t.Helper()
	actions, _ := s.cloud.Actions()
	var said []string
	for _, a := range actions {
		if a.Get("LifecycleHookName") == "ready" && a.Get("AutoScalingGroupName") == "edge" {
			said = append(said, a.Get("Action")+" "+a.Get("LifecycleActionResult"))
		}
	}
	return strings.Join(said, ", ")
}

// installation is the command of the README.
func (m *machine) installation() []string {
	return []string{"sh", "/run/release/provision/install.sh", "--role", m.name, "--env", "/run/env/env", "--release", "/run/release"}
}

func (m *machine) first(run func(...string) string) {
	m.t.Helper()
	said := run(m.installation()...)
	if found := changedLine.FindStringSubmatch(said); found == nil || found[1] == "0" {
		m.t.Fatalf("%s: the first run prints %q", m.name, tail([]byte(said)))
	}
}

// again runs install.sh on an installed machine: no file changes, and nothing restarts.
func (m *machine) again(run func(...string) string) {
	m.t.Helper()
	before, started := m.snapshot(), m.started()
	if len(before) < 5000 {
		m.t.Fatalf("%s: a snapshot of only %d files cannot be right", m.name, len(before))
	}
	said := run(m.installation()...)
	if !strings.HasSuffix(said, "changed=0\n") || strings.Contains(said, "install:") {
		m.t.Errorf("%s: the second run prints %q", m.name, tail([]byte(said)))
	}
	if after := m.snapshot(); !maps.Equal(before, after) {
		m.t.Errorf("%s: the second run changed %s", m.name, difference(before, after))
	}
	if now := m.started(); !maps.Equal(started, now) {
		m.t.Errorf("%s: the second run restarted: %s", m.name, difference(started, now))
	}
}

// refusals are what install.sh says to wrong arguments; it must not touch anything
// before.
func refusals(t *testing.T, m *machine) {
	t.Helper()
	before := m.snapshot()
	for _, c := range []struct{ args, says string }{
		{"--role chef", `--role is "chef"`},
		{"--role", "--role needs a value"},
		{"--speed fast", "unknown argument --speed"},
		{"--role edge", "/etc/nearcast/provision.env is missing"},
		{"--role edge --env /run/env/env", "NEARCAST_ROLE=server"},
	} {
		out, err := m.try(append([]string{"/run/release/provision/install.sh"}, strings.Fields(c.args)...)...)
		if err == nil || !strings.Contains(out, c.says) {
			t.Errorf("install.sh %s: %v, and prints %q", c.args, err, out)
		}
	}
	if after := m.snapshot(); !maps.Equal(before, after) {
		t.Errorf("a refused call changed %s", difference(before, after))
	}
}

// holds keeps a package at its version, as the steps do with a GPU's driver.
func (m *machine) holds() {
	m.t.Helper()
	said := m.run("bash", "-c", ". /run/release/provision/lib.sh; hold dbus; hold dbus; apt-mark showhold; apt-mark unhold dbus >/dev/null; echo changed=$changed")
	if said != "install: hold of dbus\ndbus\nchanged=1\n" {
		m.t.Errorf("hold says %q", said)
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
