package provision_test

import (
	"fmt"
	"strings"

	"github.com/nearcast/nearcast/provision/nodetest"
)

// job runs a command under systemd, as cloud-init runs user data.
func (m *machine) job(args ...string) string {
	m.t.Helper()
	return m.run(append([]string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect"}, args...)...)
}

// unit has the properties of a unit.
type unit map[string]string

func (m *machine) unit(name string) unit {
	m.t.Helper()
	u := unit{}
	for line := range strings.Lines(m.run("systemctl", "show", name)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		u[key] = value
	}
	return u
}

// is returns an error unless the unit is in a state such as "active running success".
func (u unit) is(state string) error {
	if have := u["ActiveState"] + " " + u["SubState"] + " " + u["Result"]; have != state {
		return fmt.Errorf("%s is %q instead of %q: %s", u["Id"], have, state, u["StatusText"])
	}
	return nil
}

// ours returns the units that install.sh installed.
func (m *machine) ours() []string {
	m.t.Helper()
	return strings.Fields(m.run("sh", "-c", "cd /etc/systemd/system && ls consul.service nomad.service nearcast-*.service nearcast-*.timer"))
}

// started returns the invocation id of each of our units, but for the firewall's, which its
// timer starts each minute.
func (m *machine) started() map[string]string {
	m.t.Helper()
	all := map[string]string{}
	if m.systemd() {
		for _, name := range m.ours() {
			if name == "nearcast-firewall.service" {
				continue
			}
			all[name] = m.unit(name)["InvocationID"]
		}
	}
	return all
}

// systemd reports whether systemd runs; it does not in an image.
func (m *machine) systemd() bool {
	_, err := m.try("test", "-d", "/run/systemd/system")
	return err == nil
}

// sound waits until no unit has failed, and none is starting.
func (m *machine) sound() {
	m.t.Helper()
	nodetest.Eventually(m.t, m.ctx, m.name+" is sound", func() error {
		if out, err := m.try("systemctl", "is-system-running"); err != nil {
			more, _ := m.try("systemctl", "list-units", "--no-legend", "--state=failed,activating")
			return fmt.Errorf("it is %s%s", out, more)
		}
		return nil
	})
}
