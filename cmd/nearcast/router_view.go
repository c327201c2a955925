package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router"
)

// fleetView is a router's view of the world: what Consul says of all sites,
// kept by watches that go through the local agent.
type fleetView struct {
	fleet *fleet.Fleet
	own   string
	log   *slog.Logger
	start time.Time
	ready chan struct{} // closed when the own site was seen
	once  sync.Once
	wg    sync.WaitGroup

	mu    sync.Mutex
	sites []*siteView // by name
}

// siteView is what is known of a site. fleetView.mu guards it.
type siteView struct {
	name            string
	stop            context.CancelFunc
	apps            map[string]wire.App
	brains, routers []wire.Instance // nil until heard of
	watches         []*fleet.Watch
}

// sitesEvery is how often Consul is asked for sites, which it cannot be watched for.
const sitesEvery = 5 * time.Second

// watchFleet keeps a view until ctx ends; wait returns when it has.
func watchFleet(ctx context.Context, f *fleet.Fleet, own string, log *slog.Logger) *fleetView {
	v := &fleetView{fleet: f, own: own, log: log, start: time.Now(), ready: make(chan struct{})}
	v.add(ctx, own) // whatever the list of sites says
	v.wg.Add(1)
	go func() {
		defer v.wg.Done()
		v.followSites(ctx)
	}()
	return v
}

func (v *fleetView) wait() { v.wg.Wait() }

func (v *fleetView) followSites(ctx context.Context) {
	warned := false
	for {
		ask, cancel := context.WithTimeout(ctx, sitesEvery)
		names, err := v.fleet.Sites(ask)
		cancel()
		again := sitesEvery
		if err != nil {
			again = time.Second // the watches say in the log what is wrong
		} else {
			if known := slices.Contains(names, v.own); !known && !warned {
				v.log.Error("consul knows no datacenter of this router's site; --site must name one", "site", v.own, "datacenters", names)
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

// setSites follows the list of sites: it watches the new, and drops the gone.
func (v *fleetView) setSites(ctx context.Context, names []string) {
	v.mu.Lock()
	have := make([]string, len(v.sites))
	for i, s := range v.sites {
		have[i] = s.name
	}
	v.sites = slices.DeleteFunc(v.sites, func(s *siteView) bool {
		gone := s.name != v.own && !slices.Contains(names, s.name)
		if gone {
			s.stop()
			v.log.Info("a site is gone", "site", s.name)
		}
		return gone
	})
	v.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(have, name) {
			v.add(ctx, name)
			v.log.Info("a site is known", "site", name)
		}
	}
}

func (v *fleetView) add(ctx context.Context, name string) {
	ctx, stop := context.WithCancel(ctx)
	s := &siteView{name: name, stop: stop}
	at := v.fleet.At(name)
	s.watches = []*fleet.Watch{
		at.WatchApps(ctx, func(apps map[string]wire.App) { v.set(s, func() { s.apps = apps }) }),
		at.WatchInstances(ctx, wire.BrainService, func(list []wire.Instance) { v.set(s, func() { s.brains = list }) }),
		at.WatchInstances(ctx, wire.RouterService, func(list []wire.Instance) { v.set(s, func() { s.routers = list }) }),
	}
	for _, w := range s.watches {
		v.wg.Add(1)
		go func() {
			defer v.wg.Done()
			<-w.Done()
		}()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	i, _ := slices.BinarySearchFunc(v.sites, name, func(s *siteView, name string) int {
		return cmp.Compare(s.name, name)
	})
	v.sites = slices.Insert(v.sites, i, s)
}

// set changes a site, and notices when the own one has been seen whole.
func (v *fleetView) set(s *siteView, change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
	if s.name == v.own && s.seen() {
		v.once.Do(func() { close(v.ready) })
	}
}

func (s *siteView) seen() bool { return s.apps != nil && s.brains != nil && s.routers != nil }

// staleSince is when the site was seen last as a whole, if it is out of sight.
func (s *siteView) staleSince(start time.Time) time.Time {
	var since time.Time
	for _, w := range s.watches {
		if !w.Stale() {
			continue
		}
		last := w.LastSuccess()
		if last.IsZero() {
			last = start
		}
		if since.IsZero() || last.Before(since) {
			since = last
		}
	}
	return since
}

// Snapshot is the router's view of this moment.
func (v *fleetView) Snapshot() router.Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := router.Snapshot{Sites: make([]router.Site, len(v.sites))}
	for i, s := range v.sites {
		since := s.staleSince(v.start)
		if s.name == v.own {
			out.Ready, out.StaleSince = s.seen(), since
		}
		out.Sites[i] = router.Site{Name: s.name, Apps: s.apps, Brains: s.brains, Routers: s.routers, StaleSince: since}
	}
	return out
}
