package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// consul is the registry: one server with its state on disk, so that it comes
// back as it was when it is killed.
func (c *Cluster) consul() (service, error) {
	dir := filepath.Join(c.Dir, "consul")
	config := filepath.Join(dir, "consul.json")
	settings := map[string]any{
		"server":               true,
		"bootstrap_expect":     1,
		"datacenter":           c.Site,
		"node_name":            "dev",
		"data_dir":             filepath.Join(dir, "data"),
		"bind_addr":            c.at.host,
		"client_addr":          c.at.host,
		"ui_config":            map[string]any{"enabled": true},
		"disable_update_check": true,
		"disable_host_node_id": true,
		"leave_on_terminate":   false,
		// Elections as quick as in a cluster of one machine they can be.
		"performance": map[string]any{"raft_multiplier": 1},
		"connect":     map[string]any{"enabled": false},
		// Every client of this cluster comes from one address.
		"limits": map[string]any{"http_max_conns_per_client": 4096},
		"ports": map[string]any{
			"http": c.Ports.Consul, "server": c.Ports.ConsulRPC,
			"serf_lan": c.Ports.ConsulSerf, "serf_wan": c.Ports.ConsulWAN,
			"dns": -1, "grpc": -1, "grpc_tls": -1,
		},
	}
	if len(c.at.peers) > 0 {
		var wan []string
		for _, peer := range c.at.peers {
			wan = append(wan, net.JoinHostPort(peer, strconv.Itoa(c.Ports.ConsulWAN)))
		}
		settings["retry_join_wan"] = wan
		// All sites of a planet start at the same time. The gossip itself keeps
		// its defaults: what it does over a WAN is what is looked at.
		settings["retry_interval_wan"] = "1s"
	}
	// Sites that an earlier planet had are not asked for.
	if err := os.RemoveAll(filepath.Join(dir, "data", "serf", "remote.snapshot")); err != nil {
		return service{}, err
	}
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return service{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return service{}, err
	}
	if err := writeFile(config, text, 0o644); err != nil {
		return service{}, err
	}
	address := "http://" + c.ConsulAddress
	return service{
		name: "consul",
		argv: []string{c.tools["consul"], "agent", "-config-file=" + config},
		env:  c.environ(),
		log:  c.LogFile("consul"),
		ready: func(ctx context.Context) error {
			// A leader that has taken its own node in can serve registrations.
			body, err := c.get(ctx, address+"/v1/health/node/dev")
			if err == nil && !strings.Contains(string(body), "serfHealth") {
				err = fmt.Errorf("consul has no leader yet")
			}
			return err
		},
		grace: 5 * time.Second,
	}, nil
}
