package planet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/planet/netns"
	"github.com/nearcast/nearcast/internal/wire"
)

// WaitFederated returns when each site's Consul and Nomad know all sites.
func (p *Planet) WaitFederated(ctx context.Context) error {
	waits, ctx := errgroup.WithContext(ctx)
	for _, c := range p.all() {
		for _, url := range []string{"http://" + c.ConsulAddress + "/v1/catalog/datacenters", "http://" + c.NomadAddress + "/v1/regions"} {
			waits.Go(func() error { return p.waitNames(ctx, c, url) })
		}
	}
	if err := waits.Wait(); err != nil {
		return err
	}
	p.logger.Info("all sites know each other")
	return nil
}

// waitNames waits until the list at a URL of a site's server names all sites.
func (p *Planet) waitNames(ctx context.Context, c *dev.Cluster, url string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var known []string
		body, err := c.Get(ctx, url)
		if err == nil {
			err = json.Unmarshal(body, &known)
		}
		var missing []string
		for _, site := range p.Names() {
			if !slices.Contains(known, site) {
				missing = append(missing, site)
			}
		}
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s knows %s (%s, %v): %w", c.Site, strings.Join(missing, ", "), url, err, ctx.Err())
		}
	}
}

// WaitIdle returns when an app has an idle seat at each site: see dev.Cluster.
func (p *Planet) WaitIdle(ctx context.Context, app string) error {
	waits, ctx := errgroup.WithContext(ctx)
	for _, c := range p.all() {
		waits.Go(func() error {
			if err := c.WaitIdle(ctx, app); err != nil {
				return fmt.Errorf("site %s: %w", c.Site, err)
			}
			return nil
		})
	}
	return waits.Wait()
}

// RunJob registers a job at each site: see dev.Cluster.
func (p *Planet) RunJob(ctx context.Context, file string, vars map[string]string) (id string, err error) {
	for _, c := range p.all() {
		if id, err = c.RunJob(ctx, file, vars); err != nil {
			return "", fmt.Errorf("site %s: %w", c.Site, err)
		}
	}
	return id, nil
}

// AppList asks the router of a site which apps there are, and their capacity. state is
// the site's, of a planet that may run in another process.
func AppList(ctx context.Context, state dev.State) (wire.AppsResponse, error) {
	ns, err := netns.Open(state.Namespace)
	if err != nil {
		return wire.AppsResponse{}, err
	}
	defer ns.Close()
	return state.AppList(ctx, ns)
}
