package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// siteName is the site, a Consul datacenter.
const siteName = "dc1"

// consul is one real Consul server. It keeps its data, so it can be killed and come back.
type consul struct {
	address string
	dir     string
	ports   []int
	process *process
	client  *http.Client
}

func startConsul(ctx context.Context, dir string) (*consul, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	c := &consul{address: fmt.Sprintf("127.0.0.1:%d", ports[0]), dir: dir, ports: ports,
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	return c, c.start(ctx)
}

// start starts the server, and waits until it has a leader.
func (c *consul) start(ctx context.Context) error {
	bin, err := testkit.FindTool("consul")
	if err != nil {
		return err
	}
	p := c.ports
	cmd := exec.Command(bin, "agent", "-server", "-bootstrap-expect=1", "-node=server-1", "-datacenter="+siteName,
		"-data-dir="+filepath.Join(c.dir, "consul"), "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn",
		fmt.Sprintf("-http-port=%d", p[0]), fmt.Sprintf("-server-port=%d", p[1]), fmt.Sprintf("-serf-lan-port=%d", p[2]),
		fmt.Sprintf("-serf-wan-port=%d", p[3]), fmt.Sprintf("-grpc-port=%d", p[4]), "-grpc-tls-port=-1", "-dns-port=-1",
		"-hcl=performance { raft_multiplier = 1 } disable_update_check = true connect { enabled = false } "+
			"disable_host_node_id = true limits { http_max_conns_per_client = 10000 }")
	cmd.Env = testkit.Environ()
	if c.process, err = spawn(filepath.Join(c.dir, "consul.log"), cmd); err != nil {
		return err
	}
	return until(ctx, 30*time.Second, "consul is ready", func() error {
		if err := c.process.alive(); err != nil {
			return err
		}
		var checks []struct{ CheckID string }
		if err := c.get(ctx, "/v1/health/node/server-1", &checks); err != nil {
			return err
		}
		for _, check := range checks {
			if check.CheckID == "serfHealth" {
				return nil
			}
		}
		return fmt.Errorf("it has not settled")
	})
}

func (c *consul) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, nil, into)
}

func (c *consul) put(ctx context.Context, path string, body any) error {
	return c.ask(ctx, http.MethodPut, path, body, nil)
}

func (c *consul) ask(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 400))
		return fmt.Errorf("consul: %s %s: %s: %s", method, path, resp.Status, text)
	}
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// raft is the number of entries in Raft's log so far: each write is one.
func (c *consul) raft(ctx context.Context) (float64, error) {
	var self struct {
		Stats struct {
			Raft map[string]string `json:"raft"`
		}
	}
	if err := c.get(ctx, "/v1/agent/self", &self); err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(self.Stats.Raft["last_log_index"], 64)
	if err != nil {
		return 0, fmt.Errorf("read raft's index: %w", err)
	}
	return n, nil
}

// key reads a key of the KV store. found is false where there is none.
func (c *consul) key(ctx context.Context, name string, into any) (found bool, err error) {
	err = c.get(ctx, "/v1/kv/"+name+"?raw", into)
	if err != nil && strings.Contains(err.Error(), "404") {
		return false, nil
	}
	return err == nil, err
}

// check is a health check in Consul's catalog.
type check struct {
	Node, CheckID, Name, Status, ServiceID string
}

// service is one in Consul's catalog.
type service struct {
	ID, Service, Address string
	Port                 int
	Meta                 map[string]string
}

// registerNode writes a node and its services into the catalog, as its agent would. The
// benchmark has no agents of its own: 625 of them would need the machine for themselves.
func (c *consul) registerNode(ctx context.Context, node, address string, s service, status string) error {
	return c.put(ctx, "/v1/catalog/register", map[string]any{
		"Node": node, "Address": address, "Service": s, "SkipNodeUpdate": false,
		"Check": check{Node: node, CheckID: "service:" + s.ID, Name: s.Service, Status: status, ServiceID: s.ID},
	})
}
