package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/consul/api"
)

// Server is a server of Consul, as an operator's token sees it.
type Server struct {
	Name, Version          string
	Leader, Voter, Healthy bool
}

// Servers are the servers of the site, as its leader counts them.
func (f *Fleet) Servers(ctx context.Context) ([]Server, error) {
	raft, err := f.consul.Operator().RaftGetConfiguration(f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("ask Consul for its servers: %w", err)
	}
	health, err := f.consul.Operator().AutopilotServerHealth(f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("ask Consul how its servers are: %w", err)
	}
	var servers []Server
	for _, peer := range raft.Servers {
		server := Server{Name: peer.Node, Leader: peer.Leader, Voter: peer.Voter}
		for _, h := range health.Servers {
			if h.ID == peer.ID {
				server.Version, server.Healthy = h.Version, h.Healthy
			}
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// Lost are the nodes of the site whose Consul agent does not answer the others.
func (f *Fleet) Lost(ctx context.Context) (nodes []string, err error) {
	checks, _, err := f.consul.Health().State(api.HealthCritical, f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("list checks: %w", err)
	}
	for _, check := range checks {
		if check.CheckID == "serfHealth" {
			nodes = append(nodes, check.Node)
		}
	}
	slices.Sort(nodes)
	return nodes, nil
}

// Follows is the site whose access control this one copies; itself, where it owns its own.
func (f *Fleet) Follows(ctx context.Context) (string, error) {
	said, _, err := f.consul.ACL().Replication(f.query(ctx))
	if err != nil {
		return "", fmt.Errorf("ask Consul whose access control it copies: %w", err)
	}
	if !said.Enabled {
		return f.site, nil
	}
	return said.SourceDatacenter, nil
}
