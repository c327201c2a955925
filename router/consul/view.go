// Package consul keeps a router's view of all sites, from the local Consul
// agent and from the routers of the other sites.
//
// A View watches its own site through the local agent: its apps, brains, routers, what
// the site says of itself, and the keys of launch tokens. Of another site it asks Consul
// once where the site's routers are. From then on those tell it what the site has, in
// answer to the question whether they answer (package reach). A site whose routers do not
// tell, because they cannot be reached from here or are of an older version, is read from
// Consul now and then; no question across the WAN waits for a change. From all this it
// makes a router.Snapshot, within 10 ms of a change among few sites, and once a second
// without one.
//
//	f, err := fleet.Open(fleet.Config{Address: "127.0.0.1:8500"})
//	view := consul.Watch(ctx, f, "eu-west-1", facts.NewTokens(signer).For, log)
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
	// snapshotGap is the least time between two snapshots while there are few sites, and
	// snapshotEach what each site adds to it: they cost more, and news comes more often.
	snapshotGap  = 10 * time.Millisecond
	snapshotEach = time.Millisecond
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
	moved       atomic.Bool // a site's routers may have other addresses

	mu        sync.Mutex
	sites     []*site // by name
	distances distances
	readEvery time.Duration // see far.go
}

// Watch starts a View for a router at the site own. The View ends with ctx. token gives
// what the routers of another site want to see before they tell of it: see
// facts.Tokens.For.
func Watch(ctx context.Context, f *fleet.Fleet, own string, token func(site string) string, log *slog.Logger) *View {
	v := &View{
		fleet: f, own: own, log: log, start: time.Now(), coordinates: fleet.NewCoordinateMap(),
		ready: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	v.latest.Store(&router.Snapshot{})
	v.monitor = reach.New(reach.Config{Log: log, Changed: v.reachChanged, Token: token})
	v.add(ctx, own) // whatever the list of sites says
	v.running.Go(func() { v.followSites(ctx) })
	v.running.Go(func() { v.followFar(ctx) })
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
		if v.moved.Swap(false) {
			v.retarget()
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
		gap.Reset(snapshotGap + time.Duration(len(snapshot.Sites)-1)*snapshotEach)
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
	v.distances.refresh(now, names, reached, v.coordinates.Distance)
	out := router.Snapshot{Sites: make([]router.Site, len(v.sites))}
	grace, fresh := v.monitor.Grace(), max(readEvery, v.readEvery)+2*readTimeout
	for i, s := range v.sites {
		if s.name != v.own {
			out.Sites[i] = s.farSnapshot(now, reached[s.name], grace, fresh)
			out.Sites[i].Distances = v.distances.rows[s.name]
		} else {
			out.Sites[i] = s.snapshot(v.start)
			out.Ready, out.StaleSince = s.seen(), out.Sites[i].StaleSince
			out.LaunchKeys, out.APIKeys = s.launchKeys, s.apiKeys
			out.Sites[i].Distances = v.distances.own(now, v.own, names, reached)
		}
	}
	return out
}
