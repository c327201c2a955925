package testkit

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Consul is an agent in server mode with a data directory, so that it can be
// killed and started again with or without its memory.
type Consul struct {
	Address string // host:port of its HTTP API

	t     testing.TB
	site  string
	join  []string // WAN addresses of the other sites' agents
	bin   string
	data  string
	ports [6]int
	cmd   *exec.Cmd
	logs  *os.File
}

// Tool finds a server's binary on PATH or in $NEARCAST_TOOLS_DIR, and skips
// the test where it is in neither.
func Tool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("NEARCAST_TOOLS_DIR")
	if dir == "" {
		if cache, err := os.UserHomeDir(); err == nil {
			dir = filepath.Join(cache, ".cache", "nearcast", "tools", "bin")
		}
	}
	if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is neither on PATH nor in %s", name, dir)
	}
	return path
}

// Ports are n TCP ports that were free a moment ago.
func Ports(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// StartConsul runs an agent until the test ends. Its site is dc1.
func StartConsul(t testing.TB) *Consul {
	t.Helper()
	c := prepareConsul(t, "dc1")
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
				c.join = append(c.join, "127.0.0.1:"+strconv.Itoa(other.ports[3]))
			}
		}
		c.Restart(false)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, c := range all {
		// A key can be read from a site only where the whole way works.
		for _, site := range sites {
			for !strings.Contains(get(ctx, "http://"+c.Address+"/v1/status/leader?dc="+site), ":") {
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatalf("consul of %s does not reach %s after a minute", c.site, site)
				}
			}
		}
	}
	return all
}

// prepareConsul makes an agent that does not run yet.
func prepareConsul(t testing.TB, site string) *Consul {
	t.Helper()
	c := &Consul{t: t, site: site, bin: Tool(t, "consul"), data: t.TempDir()}
	copy(c.ports[:], Ports(t, len(c.ports)))
	c.Address = "127.0.0.1:" + strconv.Itoa(c.ports[0])
	logs, err := os.Create(filepath.Join(t.TempDir(), "consul.log"))
	if err != nil {
		t.Fatal(err)
	}
	c.logs = logs
	t.Cleanup(func() {
		c.Kill()
		logs.Close()
		if t.Failed() {
			if text, err := os.ReadFile(logs.Name()); err == nil {
				t.Logf("last words of consul at %s:\n%s", site, text[max(0, len(text)-3000):])
			}
		}
	})
	return c
}

// Kill ends the agent as kill -9 does.
func (c *Consul) Kill() {
	if c.cmd == nil {
		return
	}
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c.cmd = nil
}

// Pause and Resume make the agent hang and go on.
func (c *Consul) Pause()  { c.cmd.Process.Signal(syscall.SIGSTOP) }
func (c *Consul) Resume() { c.cmd.Process.Signal(syscall.SIGCONT) }

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
	c.cmd = exec.Command(c.bin, "agent", "-server", "-bootstrap-expect=1", "-node=test", "-datacenter="+c.site,
		"-data-dir="+c.data, "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn",
		fmt.Sprintf("-http-port=%d", p[0]), fmt.Sprintf("-server-port=%d", p[1]),
		fmt.Sprintf("-serf-lan-port=%d", p[2]), fmt.Sprintf("-serf-wan-port=%d", p[3]),
		fmt.Sprintf("-grpc-port=%d", p[4]), "-grpc-tls-port=-1", "-dns-port=-1",
		// Elections as quick as in -dev, and no cloud look-ups.
		"-hcl=performance { raft_multiplier = 1 } disable_update_check = true connect { enabled = false } "+
			"disable_host_node_id = true limits { http_max_conns_per_client = 10000 } retry_interval_wan = \"1s\"")
	for _, other := range c.join {
		c.cmd.Args = append(c.cmd.Args, "-retry-join-wan="+other)
	}
	c.cmd.Stdout, c.cmd.Stderr = c.logs, c.logs
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	// The health of the own node is there once the leader has settled in.
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		if strings.Contains(get(ctx, "http://"+c.Address+"/v1/health/node/test"), "serfHealth") {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatal("consul is not ready after 30 s")
		}
	}
}

func get(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return ""
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body)
}
