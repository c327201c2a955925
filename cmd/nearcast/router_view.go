package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router"
	"github.com/nearcast/nearcast/router/reach"
)

// fleetView is a router's view of the world: what Consul says of all sites,
// kept by watches that go through the local agent, and whether the routers of
// the other sites answer this one.
type fleetView struct {
	fleet       *fleet.Fleet
	own         string
	log         *slog.Logger
	start       time.Time
	coordinates *fleet.CoordinateMap
	prober      *reach.Prober
	ready       chan struct{} // closed when the own site was seen
	bell        chan struct{} // rung when something changed
	once        sync.Once
	wg          sync.WaitGroup
	now         atomic.Pointer[router.Snapshot]

	mu        sync.Mutex
	sites     []*siteView // by name
	distances map[string]map[string]wire.Distance
	measured  time.Time // when distances were taken from the map
}

// siteView is what is known of a site. fleetView.mu guards it.
type siteView struct {
	name            string
	stop            context.CancelFunc
	apps            map[string]wire.App
	brains, routers []wire.Instance // nil until heard of
	info            wire.SiteInfo
	watches         []*fleet.Watch
}

const (
	// sitesEvery is how often Consul is asked for sites, which it cannot be watched for.
	sitesEvery = 5 * time.Second
	// coordinatesEvery is how often it is asked for coordinates.
	coordinatesEvery = 10 * time.Second
	// snapshotEvery is how old a snapshot becomes when nothing changes, and
	// snapshotGap how close two of them are when much does.
	snapshotEvery = time.Second
	snapshotGap   = 10 * time.Millisecond
	// distancesGap is how close two looks at all distances are: of many sites
	// there are very many.
	distancesGap = 2 * time.Second
	// sampleAge is how long a measured distance is better than a predicted one.
	sampleAge = time.Minute
	// rowAge is the same of a distance that another site's router measured.
	rowAge = 10 * time.Minute
)

// watchFleet keeps a view until ctx ends; wait returns when it has.
func watchFleet(ctx context.Context, f *fleet.Fleet, own string, log *slog.Logger) *fleetView {
	v := &fleetView{
		fleet: f, own: own, log: log, start: time.Now(), coordinates: fleet.NewCoordinateMap(),
		ready: make(chan struct{}), bell: make(chan struct{}, 1),
	}
	v.now.Store(&router.Snapshot{})
	v.prober = reach.New(reach.Config{Log: log, Changed: v.reachChanged})
	v.add(ctx, own) // whatever the list of sites says
	v.wg.Go(func() { v.followSites(ctx) })
	v.wg.Go(func() { v.prober.Run(ctx) })
	v.wg.Go(func() { f.FollowCoordinates(ctx, v.coordinates, coordinatesEvery, v.learned) })
	v.wg.Go(func() { v.publish(ctx) })
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
	v.retarget()
}

func (v *fleetView) add(ctx context.Context, name string) {
	ctx, stop := context.WithCancel(ctx)
	s := &siteView{name: name, stop: stop}
	at := v.fleet.At(name)
	v.mu.Lock()
	defer v.mu.Unlock()
	s.watches = []*fleet.Watch{
		at.WatchApps(ctx, func(apps map[string]wire.App) { v.set(s, func() { s.apps = apps }) }),
		at.WatchInstances(ctx, wire.BrainService, func(list []wire.Instance) { v.set(s, func() { s.brains = list }) }),
		at.WatchInstances(ctx, wire.RouterService, func(list []wire.Instance) {
			v.set(s, func() { s.routers = list })
			v.retarget()
		}),
		at.WatchSite(ctx, func(info wire.SiteInfo) { v.set(s, func() { s.info = info }) }),
	}
	for _, w := range s.watches {
		v.wg.Go(func() { <-w.Done() })
	}
	i, _ := slices.BinarySearchFunc(v.sites, name, func(s *siteView, name string) int {
		return cmp.Compare(s.name, name)
	})
	v.sites = slices.Insert(v.sites, i, s)
	v.ring()
}

// set changes a site.
func (v *fleetView) set(s *siteView, change func()) {
	v.mu.Lock()
	change()
	v.mu.Unlock()
	v.ring()
}

func (v *fleetView) ring() {
	select {
	case v.bell <- struct{}{}:
	default:
	}
}

// learned hears that the map has news.
func (v *fleetView) learned() {
	v.mu.Lock()
	v.measured = time.Time{}
	v.mu.Unlock()
	v.ring()
}

// retarget tells the prober whom to ask: the routers of the other sites.
func (v *fleetView) retarget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	var targets []reach.Target
	for _, s := range v.sites {
		if s.name == v.own {
			continue
		}
		t := reach.Target{Site: s.name}
		for _, healthy := range []bool{true, false} {
			for _, i := range s.routers {
				if i.Healthy == healthy && i.URL != "" {
					t.URLs = append(t.URLs, i.URL)
				}
			}
		}
		targets = append(targets, t)
	}
	v.prober.Watch(targets)
}

// reachChanged hears that a site began to answer or fell silent.
func (v *fleetView) reachChanged(name string) {
	v.mu.Lock()
	for _, s := range v.sites {
		// Queries that were sent into a broken network hang long after it is mended.
		if s.name == name && v.prober.State(name).Answers() {
			for _, w := range s.watches {
				if w.Stale() || time.Since(w.LastSuccess()) > sitesEvery {
					w.Again()
				}
			}
		}
	}
	v.mu.Unlock()
	v.ring()
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
func (v *fleetView) Snapshot() router.Snapshot { return *v.now.Load() }

// publish makes a snapshot of each change, and now and then without one: much
// of a view grows old by itself.
func (v *fleetView) publish(ctx context.Context) {
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
		}
		snap := v.build(time.Now())
		v.now.Store(&snap)
		if snap.Ready {
			v.once.Do(func() { close(v.ready) })
		}
		select {
		case <-ctx.Done():
			return
		case <-v.bell:
		case <-tick.C:
		}
		gap.Reset(snapshotGap)
	}
}

// build makes a snapshot.
func (v *fleetView) build(now time.Time) router.Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	age := now.Sub(v.measured)
	news := slices.ContainsFunc(v.sites, func(s *siteView) bool { return v.prober.State(s.name).Told.After(v.measured) })
	if age >= coordinatesEvery || news && age >= distancesGap || len(v.distances) < len(v.sites) {
		v.measured = now
		v.distances = make(map[string]map[string]wire.Distance, len(v.sites))
		for _, s := range v.sites {
			row := v.coordinates.From(s.name, now)
			if state := v.prober.State(s.name); now.Sub(state.Told) < rowAge {
				maps.Copy(row, state.Row)
			}
			v.distances[s.name] = row
		}
	}
	out := router.Snapshot{Sites: make([]router.Site, len(v.sites))}
	mine := make(map[string]wire.Distance, len(v.sites))
	for i, s := range v.sites {
		since := s.staleSince(v.start)
		site := router.Site{
			Name: s.name, Apps: s.apps, Brains: s.brains, Routers: s.routers, Info: s.info,
			StaleSince: since, Distances: v.distances[s.name],
		}
		if s.name == v.own {
			out.Ready, out.StaleSince = s.seen(), since
			site.Distances = mine
		} else {
			site.Reach = v.prober.State(s.name)
			d, ok := v.distances[v.own][s.name]
			if now.Sub(site.Reach.Measured) < sampleAge {
				d, ok = wire.Distance{RTTMS: site.Reach.RTTMS, ErrorMS: site.Reach.ErrorMS, Measured: true}, true
			}
			if ok {
				mine[s.name] = d
			}
		}
		out.Sites[i] = site
	}
	return out
}
