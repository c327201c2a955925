package provision_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision/nodetest"
)

// sleeper is a task that ends at SIGTERM, as our tasks do. At the shutdown of a node, systemd
// waits 90 seconds for other tasks.
const sleeper = `job "sleeper" {
  node_pool = "edge"
  group "g" {
    task "sleeper" {
      driver = "exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "trap exit TERM INT; sleep 86399 & wait"]
      }
      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
`

// outlives: a seat and a task of exec keep running while the agents restart.
func (s *bareSite) outlives() {
	s.t.Helper()
	server, stream := s.machines["server"], s.machines["stream"]
	server.write("/run/sleeper.hcl", sleeper)
	s.must("nomad", "job", "run", "-detach", "/run/sleeper.hcl")
	stream.run("install", "/run/apps/testapp", "/usr/local/bin/testapp")
	s.must("nomad", "job", "run", "-detach", "-var", "node_pool=stream-cpu", "/opt/nearcast/jobs/testapp.nomad.hcl")
	s.works()
	s.until("their processes", func() error {
		if have := s.tasks(); len(have) != 3 {
			return fmt.Errorf("there are %v", have)
		}
		return nil
	})
	before := s.tasks()
	s.stage("a seat and a task run")
	for role, m := range s.machines {
		than := m.agents()
		if role == "stream" {
			s.changes(m)
		} else {
			m.run("systemctl", "restart", "consul", "nomad")
		}
		s.serve(m, than)
	}
	s.ready()
	s.same(before, "a restart of the agents")
	// If memory runs out, the kernel must kill a seat, not the agents.
	for process := range before {
		node, rest, _ := strings.Cut(process, " ")
		pid := rest[strings.LastIndex(rest, " ")+1:]
		if score := s.machines[node].run("cat", "/proc/"+pid+"/oom_score_adj"); strings.HasPrefix(score, "-") {
			s.t.Errorf("%s has the OOM score %s", process, score)
		}
	}
}

// works starts a new seat; the task must still run.
func (s *bareSite) works() {
	s.t.Helper()
	_, said, _ := strings.Cut(s.must("nomad", "job", "dispatch", "-detach", "-namespace=apps", "testapp"), "testapp/dispatch-")
	seat := "testapp/dispatch-" + strings.Fields(said + " ?")[0]
	s.until("a seat and a task", func() error {
		running := map[string]bool{}
		allocs := s.allocs()
		for _, a := range allocs {
			running[a.JobID] = running[a.JobID] || a.ClientStatus == "running"
		}
		if !running[seat] || !running["sleeper"] {
			return fmt.Errorf("%s and the sleeper are among %+v; Nomad says: %s", seat, allocs, s.must("nomad", "job", "status", "-namespace=apps", seat))
		}
		return nil
	})
}

type alloc struct {
	JobID, ClientStatus, ClientDescription string
	TaskStates                             map[string]struct {
		State    string
		Restarts int
	}
}

func (s *bareSite) allocs() (all []alloc) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must("nomad", "operator", "api", "/v1/allocations?namespace=*")), &all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// changes makes install.sh change something, which restarts the agents.
func (s *bareSite) changes(m *machine) {
	s.t.Helper()
	file := filepath.Join(m.shown["env"], "env")
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = f.WriteString("NEARCAST_ZONE='b'\n")
	if err := errors.Join(err, f.Close()); err != nil {
		s.t.Fatal(err)
	}
	m.first(m.job)
	m.again(m.job)
}

// tasks returns the processes of tasks, with their start times.
func (s *bareSite) tasks() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for node, pattern := range map[string]string{"edge": "^sleep 86399", "stream": "^[^ ]*(stream-host|testapp)( |$)"} {
		out, _ := s.machines[node].try("pgrep", "-f", pattern)
		for _, pid := range strings.Fields(out) {
			stat, err := s.machines[node].try("cat", "/proc/"+pid+"/stat")
			if fields := strings.Fields(stat); err == nil && len(fields) > 21 {
				all[node+" "+fields[1]+" "+pid] = fields[21]
			}
		}
	}
	return all
}

// same checks that the tasks continue: their processes, and Nomad's view of them.
func (s *bareSite) same(before map[string]string, after string) {
	s.t.Helper()
	if now := s.tasks(); !maps.Equal(before, now) {
		s.t.Errorf("after %s there are other tasks: %s", after, difference(before, now))
	}
	s.until("Nomad knows its tasks, after "+after, func() error {
		allocs := s.allocs()
		if len(allocs) != 2 {
			return fmt.Errorf("there are %+v", allocs)
		}
		for _, a := range allocs {
			for _, task := range a.TaskStates {
				if a.ClientStatus != "running" || task.State != "running" || task.Restarts != 0 {
					return fmt.Errorf("%+v", a)
				}
			}
		}
		return nil
	})
	s.stage("after " + after + ", the tasks are the same")
}

// comesBack kills the agents of all machines; systemd starts them again.
func (s *bareSite) comesBack() {
	s.t.Helper()
	before := s.tasks()
	than := map[string]map[string]string{}
	for role, m := range s.machines {
		than[role] = m.agents()
		m.run("kill", "-9", than[role]["consul"], than[role]["nomad"])
	}
	for role, m := range s.machines {
		s.serve(m, than[role])
		m.sound()
	}
	s.ready()
	s.same(before, "a kill of the agents")
}

// recovers runs the steps of docs/RECOVER.md for a lost majority on the server.
func (s *bareSite) recovers() {
	s.t.Helper()
	server := s.machines["server"]
	s.must("consul", "kv", "put", "test/mark", "before")
	than := server.agents()
	s.step("agents, stopped")
	for name := range than {
		if err := server.unit(name).is("inactive dead success"); err != nil {
			s.t.Error(err)
		}
	}
	server.run("systemctl", "start", "nearcast-renew") // may run at any time; now there is no agent to reload
	server.sound()
	// A failed backup must fail its unit, and one that is begun now waits for the agents.
	server.run("systemctl", "set-environment", "NEARCAST_BACKUP_WAIT=0")
	if out, err := server.try("systemctl", "start", "nearcast-backup"); err == nil {
		s.t.Errorf("the backup succeeded without Consul: %s", out)
	}
	server.run("systemctl", "unset-environment", "NEARCAST_BACKUP_WAIT")
	server.run("systemctl", "reset-failed")
	server.run("rm", "-rf", "/var/backups/nearcast")
	server.run("systemctl", "start", "--no-block", "nearcast-backup")
	s.step("alone", "address="+network(1))
	s.step("agents, started")
	s.serve(server, than)
	s.stage("the server's agents answer again")
	s.until("the state is complete again", func() error {
		out, err := s.ask("consul", "kv", "get", "test/mark")
		if err == nil && out != "before\n" {
			err = fmt.Errorf("the mark is %q", out)
		}
		return err
	})
	s.stage("its state is complete again")
	s.ready()
	s.stage("all nodes are there again")
	s.until("the backup that was begun without agents is there", func() error {
		_, err := server.try("sh", "-c", "ls /var/backups/nearcast/*.snap")
		return errors.Join(err, server.unit("nearcast-backup.service").is("inactive dead success"))
	})
	s.stage("the server is a cluster of one")
}

// step runs a block of docs/RECOVER.md on the server.
func (s *bareSite) step(name string, env ...string) {
	s.t.Helper()
	for _, b := range nodetest.Document(s.t) {
		if b.Name != name || !strings.HasPrefix(b.Mark, "run") {
			continue
		}
		if out, err := s.machines["server"].command(env, "bash", "-euo", "pipefail", "-c", b.Text).CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return
	}
	s.t.Fatalf("docs/RECOVER.md has no block %q", name)
}

// reboots reboots two machines in order, and cuts the power of one.
func (s *bareSite) reboots() {
	s.t.Helper()
	server, edge, stream := s.machines["server"], s.machines["edge"], s.machines["stream"]
	identity := func() map[string]string {
		all := map[string]string{}
		for role, m := range s.machines {
			all[role] = m.run("cat", "/var/lib/consul/node-id", "/var/lib/nomad/client/client-id", "/etc/machine-id")
		}
		return all
	}
	before := identity()
	edge.run("systemctl", "reboot")
	stream.run("systemctl", "reboot")
	server.off()
	edge.gone()
	s.stage("the edge node is off")
	stream.gone()
	s.stage("the stream node is off")
	// The server first: without it, Nomad on the others waits for a minute.
	for _, m := range []*machine{server, edge, stream} {
		m.boot()
	}
	s.ready()
	if now := identity(); !maps.Equal(before, now) {
		s.t.Errorf("after a boot, there are other nodes: %s", difference(before, now))
	}
	for role, m := range s.machines {
		configured := m.unit("nearcast-configure")
		if err := configured.is("inactive dead success"); err != nil || configured["ExecMainStartTimestamp"] == "" {
			s.t.Errorf("%s was not configured at its boot: %v", role, err)
		}
		if have := strings.TrimSpace(m.run("sysctl", "-n", "fs.inotify.max_user_instances")); have != "8192" {
			s.t.Errorf("%s does not have the kernel settings: %s", role, have)
		}
		m.sound()
	}
	s.until("access control is set up", func() error { return server.unit("nearcast-acl").is("active exited success") })
	s.firewall()
	s.works()
	s.stage("all have rebooted, and work")
}

// ends: the cloud takes the edge node.
func (s *bareSite) ends() {
	s.t.Helper()
	edge := s.machines["edge"]
	edge.run("systemctl", "stop", "nearcast-drain")
	if err := edge.unit("nearcast-drain").is("inactive dead success"); err != nil {
		s.t.Error(err)
	}
	edge.run("systemctl", "start", "nearcast-drain")
	s.cloud.Say("spot/instance-action", fmt.Sprintf(`{"action": "terminate", "time": %q}`, time.Now().Add(2*time.Minute).UTC().Format(time.RFC3339)))
	s.until("the edge node is drained", func() error { return edge.unit("nearcast-drain").is("inactive dead success") })
	s.until("it has left Consul", func() error {
		out, err := s.ask("consul", "members")
		if err == nil && (strings.Count(out, "alive") != 2 || strings.Count(out, "left") != 1) {
			err = errors.New(out)
		}
		return err
	})
	if err := edge.unit("consul").is("inactive dead success"); err != nil {
		s.t.Error(err)
	}
	edge.sound()
	s.stage("the edge node has ended")
}

// write writes a file of the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	cmd := m.command(nil, "sh", "-c", `mkdir -p "$(dirname "$0")" && cat >"$0"`, path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s: write %s: %v: %s", m.name, path, err, out)
	}
}
