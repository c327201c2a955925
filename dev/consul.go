package dev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision"
)

// consul is the site's only Consul agent, a server.
func (c *Cluster) consul() (service, error) {
	v := c.values(provision.Server, "nomad-server")
	v.JoinWAN = c.peers(c.Ports.ConsulWAN)
	files, err := c.configure(v, v.Paths.ConsulConfig, "agent.hcl", "server.hcl")
	if err != nil {
		return service{}, err
	}
	// Sites that an earlier planet had are not asked for.
	if err := os.RemoveAll(filepath.Join(v.Paths.ConsulData, "serf", "remote.snapshot")); err != nil {
		return service{}, err
	}
	argv := []string{c.tools["consul"], "agent"}
	for _, file := range files {
		argv = append(argv, "-config-file="+file)
	}
	return service{
		name: "consul",
		argv: argv,
		env:  c.environ(),
		log:  c.LogFile("consul"),
		ready: func(ctx context.Context) error {
			// A leader that has taken its own node in can serve registrations.
			body, err := c.get(ctx, "http://"+c.ConsulAddress+"/v1/health/node/"+v.Node)
			if err == nil && !strings.Contains(string(body), "serfHealth") {
				err = fmt.Errorf("consul has no leader yet")
			}
			return err
		},
		grace: 5 * time.Second,
	}, nil
}
