package testkit

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

// Consul is an agent in server mode with a data directory, so that it can be
// killed and started again with or without its memory.
type Consul struct {
	Address string // host:port of its HTTP API

	t          testing.TB
	site       string
	join       []string // WAN addresses of the other sites' agents
	management string   // the token with all rights; without one there are no ACLs
	bin        string
	data       string
	ports      []int
	process    *Process // nil where it does not run
	log        *os.File
}

// StartConsul runs an agent until the test ends. Its site is dc1.
func StartConsul(t testing.TB) *Consul {
	t.Helper()
	c := prepareConsul(t, "dc1")
	c.Restart(false)
	return c
}

// StartSecureConsul is StartConsul with ACLs that deny by default. The management
// token has all rights.
func StartSecureConsul(t testing.TB, management string) *Consul {
	t.Helper()
	c := prepareConsul(t, "dc1")
	c.management = management
	c.Restart(false)
	return c
}

// FederateConsul runs an agent for each site until the test ends, all of one WAN, and
// waits until each knows all sites. Nothing delays or drops what goes between
// them: Pause makes a site as silent as a cut would.
func FederateConsul(t testing.TB, sites ...string) []*Consul {
	t.Helper()
	all := make([]*Consul, len(sites))
	for i, site := range sites {
		all[i] = prepareConsul(t, site)
	}
	for i, c := range all {
		for j, other := range all {
			if i != j {
				c.join = append(c.join, address(other.ports[3]))
			}
		}
		c.Restart(false)
	}
	for _, c := range all {
		// A key can be read from a site only where the whole way works.
		for _, site := range sites {
			Retry(Context(t, time.Minute), t, c.site+" reaches "+site, func() error {
				return c.answers("/v1/status/leader?dc="+site, ":")
			})
		}
	}
	return all
}

// prepareConsul makes an agent that does not run yet.
func prepareConsul(t testing.TB, site string) *Consul {
	t.Helper()
	c := &Consul{t: t, site: site, bin: Tool(t, "consul"), data: t.TempDir(), ports: Ports(t, 5), log: logFile(t, "consul-"+site)}
	c.Address = address(c.ports[0])
	// Here and not where it is started: a restarted agent ends as late as the first.
	t.Cleanup(c.Kill)
	return c
}

// Kill ends the agent as kill -9 does.
func (c *Consul) Kill() {
	if c.process != nil {
		c.process.Kill()
		c.process = nil
	}
}

// Pause makes the agent hang. It returns when it does: after the signal, a busy machine lets threads
// go on for a while.
func (c *Consul) Pause() {
	c.t.Helper()
	pid := c.process.cmd.Process.Pid
	Must(c.t, syscall.Kill(pid, syscall.SIGSTOP))
	Until(c.t, "all threads of Consul have stopped", func() bool { return stopped(pid) })
}

// stopped reports whether all threads of a process have stopped.
func stopped(pid int) bool {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return false
	}
	for _, thread := range threads {
		if stat, err := thread.Stat(); err != nil || stat.State != "T" {
			return false
		}
	}
	return true
}

// Resume makes it go on.
func (c *Consul) Resume() { c.process.cmd.Process.Signal(syscall.SIGCONT) }

// Restart starts the agent after Kill, with all it knew forgotten if forget is
// set, and waits until it is ready.
func (c *Consul) Restart(forget bool) {
	c.t.Helper()
	if forget {
		if err := os.RemoveAll(c.data); err != nil {
			c.t.Fatal(err)
		}
	}
	p := c.ports
	// Elections as quick as in -dev, and no cloud look-ups.
	config := "performance { raft_multiplier = 1 } disable_update_check = true connect { enabled = false } " +
		"disable_host_node_id = true limits { http_max_conns_per_client = 10000 } retry_interval_wan = \"1s\""
	if c.management != "" {
		config += fmt.Sprintf(` acl { enabled = true default_policy = "deny" tokens { initial_management = %[1]q agent = %[1]q } }`, c.management)
	}
	cmd := exec.Command(c.bin, "agent", "-server", "-bootstrap-expect=1", "-node=test", "-datacenter="+c.site,
		"-data-dir="+c.data, "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn",
		fmt.Sprintf("-http-port=%d", p[0]), fmt.Sprintf("-server-port=%d", p[1]),
		fmt.Sprintf("-serf-lan-port=%d", p[2]), fmt.Sprintf("-serf-wan-port=%d", p[3]),
		fmt.Sprintf("-grpc-port=%d", p[4]), "-grpc-tls-port=-1", "-dns-port=-1", "-hcl="+config)
	for _, other := range c.join {
		cmd.Args = append(cmd.Args, "-retry-join-wan="+other)
	}
	cmd.Env = Environ()
	cmd.Stdout, cmd.Stderr = c.log, c.log
	var err error
	if c.process, err = start(cmd); err != nil {
		c.process = nil
		c.t.Fatal(err)
	}
	// The health of the own node is there once the leader has settled in.
	Retry(Context(c.t, time.Minute), c.t, "consul is ready", func() error {
		return c.answers("/v1/health/node/test", "serfHealth")
	})
}

// answers reports whether the agent's answer has a text in it.
func (c *Consul) answers(path, want string) error {
	body, err := get(c.t.Context(), "http://"+c.Address+path, c.management)
	if err == nil && !bytes.Contains(body, []byte(want)) {
		err = fmt.Errorf("%s: %s", path, body)
	}
	return err
}
