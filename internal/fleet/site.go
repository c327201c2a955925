package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/serf/coordinate"
)

// Site is the name of the local agent's site.
func (f *Fleet) Site(ctx context.Context) (string, error) {
	if f.site != "" {
		return f.site, nil
	}
	var self map[string]map[string]any
	if _, err := f.consul.Raw().Query("/v1/agent/self", &self, f.query(ctx)); err != nil {
		return "", fmt.Errorf("ask consul for its site: %w", err)
	}
	site, _ := self["Config"]["Datacenter"].(string)
	if site == "" {
		return "", errors.New("consul does not say its datacenter")
	}
	return site, nil
}

// Sites are all sites that Consul knows, nearest first as its WAN coordinates
// see it. Consul cannot be watched for this: poll.
func (f *Fleet) Sites(ctx context.Context) ([]string, error) {
	var sites []string
	if _, err := f.consul.Raw().Query("/v1/catalog/datacenters", &sites, f.query(ctx)); err != nil {
		return nil, fmt.Errorf("list sites: %w", err)
	}
	return sites, nil
}

// Coordinates are the WAN coordinates of each site's servers. They need minutes
// to converge after a start; each says by its Error how sure it is.
func (f *Fleet) Coordinates(ctx context.Context) (map[string][]*coordinate.Coordinate, error) {
	var list []struct {
		Datacenter  string
		Coordinates []struct{ Coord *coordinate.Coordinate }
	}
	if _, err := f.consul.Raw().Query("/v1/coordinate/datacenters", &list, f.query(ctx)); err != nil {
		return nil, fmt.Errorf("read coordinates: %w", err)
	}
	out := make(map[string][]*coordinate.Coordinate, len(list))
	for _, dc := range list {
		for _, c := range dc.Coordinates {
			if c.Coord != nil {
				out[dc.Datacenter] = append(out[dc.Datacenter], c.Coord)
			}
		}
	}
	return out, nil
}
