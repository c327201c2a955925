package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
	"github.com/nearcast/nearcast/provision/nodetest"
	"github.com/nearcast/nearcast/provision/secrets"
)

// bareSite is a site of three machines.
type bareSite struct {
	t        *testing.T
	ctx      context.Context
	began    time.Time
	cloud    *awstest.Cloud // with the edge node's metadata
	keys     string
	machines map[string]*machine

	management [2]string         // tokens of Consul and Nomad
	nodes      map[string]string // Nomad's ids by name
}

func (s *bareSite) stage(what string) {
	s.t.Helper()
	s.t.Logf("%5.1f s  %s", time.Since(s.began).Seconds(), what)
}

func (s *bareSite) until(what string, try func() error) {
	s.t.Helper()
	nodetest.Eventually(s.t, s.ctx, what, try)
}

// ask runs a command on the server, like an operator with a shell there.
func (s *bareSite) ask(args ...string) (string, error) {
	server := s.machines["server"]
	cmd := server.command([]string{
		"CONSUL_HTTP_ADDR=http://" + network(1) + ":8500", "NOMAD_ADDR=http://" + network(1) + ":4646",
		"CONSUL_HTTP_TOKEN=" + s.management[0], "NOMAD_TOKEN=" + s.management[1],
	}, args...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, problems.String())
	}
	return string(out), err
}

func (s *bareSite) must(args ...string) string {
	s.t.Helper()
	out, err := s.ask(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// forms waits until all nodes are ready in their pools, and members of Consul.
func (s *bareSite) forms() {
	s.t.Helper()
	server := s.machines["server"]
	s.until("access control", func() error { return server.unit("nearcast-acl").is("active exited success") })
	for i, name := range []string{"consul", "nomad"} {
		s.management[i] = strings.TrimSpace(server.run("cat", "/etc/nearcast/secrets/"+name+"-management.token"))
	}
	s.ready()
	s.until("the group knows that the edge node is ready", func() error {
		if said := s.hook(); !strings.HasSuffix(said, "CompleteLifecycleAction CONTINUE") {
			return fmt.Errorf("it heard %s", said)
		}
		return nil
	})
	for role, m := range s.machines {
		s.until(role+" finds itself ready", func() error {
			if said, err := m.try("nearcast", "provision", "ready", "--once"); err != nil || strings.Count(said, " ready\n") != 3 {
				return fmt.Errorf("%w: %s", err, said)
			}
			return nil
		})
	}
	s.stage("the site is complete")
}

func (s *bareSite) ready() {
	s.t.Helper()
	want := map[string]string{"server-1": "server", "edge-1": "edge", "stream-1": "stream-cpu"}
	s.until("three ready nodes in their pools", func() error {
		out, err := s.ask("nomad", "node", "status", "-json")
		if err != nil {
			return err
		}
		var nodes []struct {
			ID, Name, Status, NodePool string
			Drivers                    map[string]struct {
				Healthy           bool
				HealthDescription string
			}
		}
		if err := json.Unmarshal([]byte(out), &nodes); err != nil {
			return err
		}
		have, ids := map[string]string{}, map[string]string{}
		for _, n := range nodes {
			ids[n.Name] += n.ID // two nodes with one name would show
			if n.Status == "ready" {
				have[n.Name] = n.NodePool
			}
			driver := "exec"
			if n.Name == "stream-1" {
				driver = "stream"
			}
			if !n.Drivers[driver].Healthy {
				return fmt.Errorf("the driver %s of %s is not healthy: %s", driver, n.Name, n.Drivers[driver].HealthDescription)
			}
		}
		if !maps.Equal(want, have) {
			return fmt.Errorf("there are %v", have)
		}
		if s.nodes == nil {
			s.nodes = ids
		}
		if !maps.Equal(s.nodes, ids) {
			s.t.Fatalf("there are other nodes than before: %s", difference(s.nodes, ids))
		}
		return nil
	})
	s.until("three members of Consul", func() error {
		out, err := s.ask("consul", "members")
		if err == nil && strings.Count(out, "alive") != 3 {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

// units checks the units: they run, start at each boot, and systemd has no warnings.
func (s *bareSite) units() {
	s.t.Helper()
	for role, m := range s.machines {
		m.sound()
		want := map[string]string{
			"consul.service": "active running success", "nomad.service": "active running success",
			"nearcast-renew.timer": "active waiting success", "nearcast-renew.service": "inactive dead success",
			"nearcast-configure.service": "inactive dead success",
		}
		switch role {
		case "server":
			want["nearcast-acl.service"] = "active exited success"
			want["nearcast-backup.timer"], want["nearcast-backup.service"] = "active waiting success", "inactive dead success"
		case "edge":
			want["nearcast-health.service"] = "active running success"
			want["nearcast-drain.service"], want["nearcast-ready.service"] = "active running success", "active exited success"
		case "stream":
			want["nearcast-firewall.service"], want["nearcast-firewall.timer"] = "inactive dead success", "active waiting success"
			if have := m.run("findmnt", "-no", "FSTYPE,LABEL", "/var/cache/nearcast"); m.device != "" && strings.Join(strings.Fields(have), " ") != "ext4 nearcast-cache" {
				s.t.Errorf("the cache is on %q", have)
			}
		}
		// It does not run here, as a container has the clock of its machine.
		if have := strings.TrimSpace(m.run("systemctl", "is-enabled", "systemd-timesyncd.service")); have != "enabled" {
			s.t.Errorf("%s: the NTP client is %q", role, have)
		}
		if have := m.ours(); !slices.Equal(have, slices.Sorted(maps.Keys(want))) {
			s.t.Errorf("%s has the units %v", role, have)
		}
		for name, state := range want {
			if name == "nearcast-firewall.service" { // it may be running just now
				s.until(name, func() error { return m.unit(name).is(state) })
			} else if err := m.unit(name).is(state); err != nil {
				s.t.Errorf("%s: %v", role, err)
			}
			wanted := strings.Contains(m.run("cat", "/etc/systemd/system/"+name), "WantedBy=")
			if enabled := m.unit(name)["UnitFileState"]; wanted != (enabled == "enabled") {
				s.t.Errorf("%s: %s is %s", role, name, enabled)
			}
			if strings.HasSuffix(name, ".timer") && m.unit(name)["NextElapseUSecRealtime"]+m.unit(name)["NextElapseUSecMonotonic"] == "" {
				s.t.Errorf("%s: %s has no next time", role, name)
			}
		}
		if said, err := m.try(append([]string{"systemd-analyze", "verify", "--man=no"}, m.ours()...)...); err != nil || said != "" {
			s.t.Errorf("%s: systemd-analyze verify: %v: %s", role, err, said)
		}
	}
}

// netOfFirewall gives the firewall's unit a network namespace of its own, because the
// machine shares that of the testing machine.
func (m *machine) netOfFirewall() {
	m.t.Helper()
	m.write("/etc/systemd/system/firewall-net.service", `[Unit]
Before=nearcast-firewall.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c ': >/run/firewall-net && exec unshare --net=/run/firewall-net true'
`)
	m.write("/etc/systemd/system/nearcast-firewall.service.d/test.conf", `[Unit]
Requires=firewall-net.service
[Service]
NetworkNamespacePath=/run/firewall-net
`)
}

// firewall checks that the stream node has the firewall around its seats, and that Nomad
// does not start without it.
func (s *bareSite) firewall() {
	s.t.Helper()
	m := s.machines["stream"]
	const file, space = "/etc/nearcast/firewall.nft", "--net=/run/firewall-net"
	loaded := func() error {
		out, err := m.try("nsenter", space, "nft", "list", "table", "inet", "nearcast")
		if err == nil && !strings.Contains(out, "skuid 2000000000-2000009999") {
			err = fmt.Errorf("the table is %s", out)
		}
		return err
	}
	if err := loaded(); err != nil {
		s.t.Errorf("when Nomad runs: %v", err)
	}
	if have := strings.TrimSpace(m.run("stat", "-c", "%a %U", file)); have != "600 root" {
		s.t.Errorf("%s is %s", file, have)
	}
	for role, other := range s.machines {
		if _, err := other.try("test", "-e", file); (err == nil) != (role == "stream") {
			s.t.Errorf("%s: %s: %v", role, file, err)
		}
	}
	m.run("nsenter", space, "nft", "flush", "ruleset")
	m.run("systemctl", "start", "nearcast-firewall") // as the timer does
	if err := loaded(); err != nil {
		s.t.Errorf("after a flush: %v", err)
	}
	than := m.agents()
	m.run("sh", "-c", "echo nonsense >>"+file)
	m.try("systemctl", "restart", "nomad")
	s.until("Nomad waits for the firewall", func() error { return m.unit("nomad").is("activating auto-restart exit-code") })
	if err := loaded(); err != nil {
		s.t.Errorf("the new rules are wrong, and the old ones are gone: %v", err)
	}
	m.run("systemctl", "start", "nearcast-configure")
	s.serve(m, map[string]string{"nomad": than["nomad"]})
	m.run("systemctl", "reset-failed")
	s.ready()
	s.stage("the stream node has its firewall")
}

// saves runs the unit of the backup, as its timer does.
func (s *bareSite) saves() {
	s.t.Helper()
	server := s.machines["server"]
	// At a full hour the timer saves too: not now.
	server.run("systemctl", "stop", "nearcast-backup.timer")
	defer server.run("systemctl", "start", "nearcast-backup.timer")
	server.run("rm", "-rf", "/var/backups/nearcast")
	server.run("systemctl", "start", "nearcast-backup")
	names := strings.Fields(server.run("find", "/var/backups/nearcast", "-type", "f"))
	if len(names) != 2 {
		s.t.Errorf("a backup is %v", names)
	}
	for _, name := range names {
		program := map[bool][]string{true: {"consul", "snapshot"}, false: {"nomad", "operator", "snapshot"}}[strings.Contains(name, "/consul-")]
		if out := server.run(append(program, "inspect", name)...); !strings.Contains(out, "Index") {
			s.t.Errorf("%s: %s", name, out)
		}
	}
}

// renews brings new certificates, which the agents use without a restart.
func (s *bareSite) renews() {
	s.t.Helper()
	for role := range s.machines {
		for _, name := range []string{provision.CertFile, provision.KeyFile} {
			if err := os.Remove(filepath.Join(s.keys, "site-a", role, name)); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if _, err := secrets.Make(secrets.Config{Dir: s.keys, Sites: []string{"site-a"}}); err != nil {
		s.t.Fatal(err)
	}
	for role, m := range s.machines {
		before := m.agents()
		m.run("sh", "-c", "cp /run/secrets/* /etc/nearcast/secrets/")
		m.run("systemctl", "start", "nearcast-renew")
		if now := m.agents(); !maps.Equal(before, now) {
			s.t.Errorf("%s: renewing ended the agents: %s", role, difference(before, now))
		}
	}
	want := &certificate{s.keys, "site-a", "server"}
	for name, port := range map[string]string{"Consul": ":8300", "Nomad": ":4647"} {
		s.until(name+" has the new certificate", func() error { return presents(network(1)+port, want) })
	}
	s.stage("certificates are renewed")
}

// agents returns the pids of Consul and Nomad.
func (m *machine) agents() map[string]string {
	m.t.Helper()
	return map[string]string{"consul": m.unit("consul")["MainPID"], "nomad": m.unit("nomad")["MainPID"]}
}

// serve waits until both agents have other pids than those, and answer.
func (s *bareSite) serve(m *machine, than map[string]string) {
	s.t.Helper()
	for name, pid := range than {
		s.until(name+" of "+m.name+" runs again", func() error {
			u := m.unit(name)
			if u["MainPID"] == pid {
				return errors.New("it is still the old process")
			}
			return u.is("active running success")
		})
	}
	s.until("the agents of "+m.name+" answer", func() error {
		address := map[string]string{"server": network(1), "edge": network(2), "stream": network(3)}[m.name]
		for _, ask := range [][]string{
			{"consul", "info", "-http-addr=http://" + address + ":8500"},
			{"nomad", "node", "status", "-address=http://" + address + ":4646", "-self", "-short"},
		} {
			if _, err := s.ask(ask...); err != nil {
				return err
			}
		}
		return nil
	})
}
