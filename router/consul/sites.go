package consul

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nearcast/nearcast/router/reach"
)

// sitesEvery is how often Consul is asked for the list of sites: it has no
// blocking query for it.
const sitesEvery = 5 * time.Second

// followSites keeps the list of sites until ctx ends.
func (v *View) followSites(ctx context.Context) {
	warned := false
	for {
		ask, cancel := context.WithTimeout(ctx, sitesEvery)
		names, err := v.fleet.Sites(ask)
		cancel()
		again := sitesEvery
		if err != nil {
			again = time.Second // the watches log what is wrong
		} else {
			if known := slices.Contains(names, v.own); !known && !warned {
				v.log.Error("consul has no datacenter of this router's site; --site must name one", "site", v.own, "datacenters", names)
				warned = true
			}
			v.setSites(ctx, names)
		}
		t := time.NewTimer(again)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// setSites starts to watch sites that are new, and stops with those that are gone.
func (v *View) setSites(ctx context.Context, names []string) {
	v.mu.Lock()
	have := make([]string, len(v.sites))
	for i, s := range v.sites {
		have[i] = s.name
	}
	v.sites = slices.DeleteFunc(v.sites, func(s *site) bool {
		gone := s.name != v.own && !slices.Contains(names, s.name)
		if gone {
			v.log.Info("site removed", "site", s.name)
		}
		return gone
	})
	v.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(have, name) {
			v.add(ctx, name)
			v.log.Info("site added", "site", name)
		}
	}
	v.retarget()
}

func (v *View) add(ctx context.Context, name string) {
	s := &site{name: name, far: far{added: time.Now()}}
	v.mu.Lock()
	defer v.mu.Unlock()
	if name == v.own {
		v.watchSite(ctx, s)
	}
	i, _ := slices.BinarySearchFunc(v.sites, name, func(s *site, name string) int {
		return cmp.Compare(s.name, name)
	})
	v.sites = slices.Insert(v.sites, i, s)
	v.notify()
}

// retarget tells the monitor which routers to ask: those of the other sites, as the
// sites know them best.
func (v *View) retarget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	var targets []reach.Target
	for _, s := range v.sites {
		if s.name != v.own {
			targets = append(targets, target(s.name, s.farSnapshot(time.Now(), v.monitor.State(s.name), v.monitor.Grace(), 0).Routers))
		}
	}
	v.monitor.Watch(targets)
}

// reachChanged is called when a site begins to answer or falls silent, or has told new
// facts.
func (v *View) reachChanged(name string) {
	v.moved.Store(true)
	v.notify()
}
