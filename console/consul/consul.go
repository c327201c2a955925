// Package consul reads what Consul has of each site: the apps that its brains publish, and its stream
// nodes with their load. It implements console.Catalog, by the agent of the console's own site.
//
// Other sites let everybody read their apps, but not their nodes: for those the console needs a token
// that is good at all sites (acl/consul/console.hcl).
//
//	catalog := consul.New(registry, "eu-west-1")
//	nodes, err := catalog.Nodes(ctx, "us-east-1")
package consul

import (
	"context"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// Catalog is a console.Catalog.
type Catalog struct {
	registry *fleet.Fleet
	own      string
}

// New makes a Catalog of a console at the site own.
func New(registry *fleet.Fleet, own string) Catalog { return Catalog{registry, own} }

func (c Catalog) at(site string) *fleet.Fleet {
	if site == c.own {
		return c.registry
	}
	return c.registry.At(site)
}

// Apps implements console.Catalog.
func (c Catalog) Apps(ctx context.Context, site string) (map[string]wire.App, error) {
	return c.at(site).Apps(ctx)
}

// Nodes implements console.Catalog.
func (c Catalog) Nodes(ctx context.Context, site string) ([]wire.Node, error) {
	return c.at(site).Nodes(ctx)
}
