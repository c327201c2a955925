// Package consul keeps a router's view of all sites, from the local Consul
// agent and from the routers of the other sites.
//
// A View watches each site through the local agent: its apps, brains, routers
// and what the site says of itself; of its own site also the keys of launch tokens.
// It asks the routers of the other sites
// whether they answer (package reach). From both it makes a router.Snapshot,
// within 10 ms of a change and once a second without one.
//
//	f, err := fleet.Open(fleet.Config{Address: "127.0.0.1:8500"})
//	view := consul.Watch(ctx, f, "eu-west-1", log)
//	defer view.Wait() // ctx must have ended
//	r, err := router.New(router.Config{Site: "eu-west-1", View: view, …})
//
// Consul may be down when Watch is called, and at any later time: a snapshot
// then has what was known last, and says since when it is stale.
package consul

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/router"
	"github.com/nearcast/nearcast/router/reach"
)

const (
	// snapshotEvery is the age at which a snapshot is replaced without a change:
	// staleness and silence depend on the clock.
	snapshotEvery = time.Second
	// snapshotGap is the least time between two snapshots.
	snapshotGap = 10 * time.Millisecond
	// coordinatesEvery is how often Consul is asked for coordinates.
	coordinatesEvery = 10 * time.Second
)

// View is a router.View of all sites. It may be used by many goroutines at once.
type View struct {
	fleet       *fleet.Fleet
	own         string // the router's site
	log         *slog.Logger
	start       time.Time
	coordinates *fleet.CoordinateMap
	monitor     *reach.Monitor
	ready       chan struct{} // closed when the own site was seen
	changed     chan struct{} // has a token when something changed since the last snapshot
	running     sync.WaitGroup
	latest      atomic.Pointer[router.Snapshot]

	mu        sync.Mutex
	sites     []*site // by name
	distances distances
}

// Watch starts a View for a router at the site own. The View ends with ctx.
func Watch(ctx context.Context, f *fleet.Fleet, own string, log *slog.Logger) *View {
	v := &View{
		fleet: f, own: own, log: log, start: time.Now(), coordinates: fleet.NewCoordinateMap(),
		ready: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	v.latest.Store(&router.Snapshot{})
	v.monitor = reach.New(reach.Config{Log: log, Changed: v.reachChanged})
	v.add(ctx, own) // whatever the list of sites says
	v.running.Go(func() { v.followSites(ctx) })
	v.running.Go(func() { v.monitor.Run(ctx) })
	v.running.Go(func() { f.FollowCoordinates(ctx, v.coordinates, coordinatesEvery, v.coordinatesChanged) })
	v.running.Go(func() { v.publish(ctx) })
	return v
}

// Snapshot implements router.View.
func (v *View) Snapshot() router.Snapshot { return *v.latest.Load() }

// Ready is closed when the router's own site was seen for the first time.
func (v *View) Ready() <-chan struct{} { return v.ready }

// Wait returns when all that Watch started has ended.
func (v *View) Wait() { v.running.Wait() }

// notify asks for a new snapshot.
func (v *View) notify() {
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// publish makes the snapshots until ctx ends.
func (v *View) publish(ctx context.Context) {
	tick := time.NewTicker(snapshotEvery)
	defer tick.Stop()
	gap := time.NewTimer(0)
	defer gap.Stop()
	ready := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
		}
		snapshot := v.build(time.Now())
		v.latest.Store(&snapshot)
		if snapshot.Ready && !ready {
			ready = true
			close(v.ready)
		}
		select {
		case <-ctx.Done():
			return
		case <-v.changed:
		case <-tick.C:
		}
		gap.Reset(snapshotGap)
	}
}

// build makes a snapshot of what is known now.
func (v *View) build(now time.Time) router.Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := make([]string, len(v.sites))
	reached := make(map[string]reach.State, len(v.sites))
	for i, s := range v.sites {
		names[i] = s.name
		if s.name != v.own {
			reached[s.name] = v.monitor.State(s.name)
		}
	}
	v.distances.refresh(now, names, reached, v.coordinates.From)
	out := router.Snapshot{Sites: make([]router.Site, len(v.sites))}
	for i, s := range v.sites {
		out.Sites[i] = s.snapshot(v.start)
		out.Sites[i].Reach = reached[s.name]
		out.Sites[i].Distances = v.distances.rows[s.name]
		if s.name == v.own {
			out.Ready, out.StaleSince = s.seen(), out.Sites[i].StaleSince
			out.LaunchKeys = s.launchKeys
			out.Sites[i].Distances = v.distances.own(now, v.own, names, reached)
		}
	}
	return out
}
