package dev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision"
)

// consul is the site's only Consul agent, a server. It has the name of the stream node, as there: brains
// and the console know a seat's node by it.
func (c *Cluster) consul() (service, error) {
	v := c.values(provision.Server, "nomad-server")
	v.JoinWAN = c.peers(c.Ports.ConsulWAN)
	files, err := c.configure(v, v.Paths.ConsulConfig, "agent.hcl", "server.hcl")
	if err != nil {
		return service{}, err
	}
	// Forget the sites of an earlier planet.
	if err := os.RemoveAll(filepath.Join(v.Paths.ConsulData, "serf", "remote.snapshot")); err != nil {
		return service{}, err
	}
	// The templates give a server another name.
	name := nodeName(provision.Stream)
	argv := []string{c.tools["consul"], "agent", "-node=" + name}
	for _, file := range files {
		argv = append(argv, "-config-file="+file)
	}
	return service{
		name: "consul",
		argv: argv,
		env:  c.environ(),
		log:  c.LogFile("consul"),
		ready: func(ctx context.Context) error {
			// A leader that has registered its own node accepts registrations.
			body, err := c.Get(ctx, "http://"+c.ConsulAddress+"/v1/health/node/"+name)
			if err == nil && !strings.Contains(string(body), "serfHealth") {
				err = errors.New("consul has no leader yet")
			}
			return err
		},
		grace: 5 * time.Second,
	}, nil
}
