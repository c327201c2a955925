package brain

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const publishEvery = 250 * time.Millisecond

// publishLoop keeps what routers read equal to what is so. It compares with
// what stands in Consul, not with what it wrote: so it also removes what an
// earlier leader left, and fills a Consul that has lost its memory.
func (b *Broker) publishLoop(ctx context.Context) {
	var (
		mu       sync.Mutex
		apps     map[string]wire.App
		site     *wire.SiteInfo
		watching sync.WaitGroup
	)
	defer watching.Wait()
	watching.Go(func() {
		b.cfg.Fleet.WatchApps(ctx, func(there map[string]wire.App) {
			mu.Lock()
			defer mu.Unlock()
			apps = there
		})
	})
	watching.Go(func() {
		b.cfg.Fleet.WatchSite(ctx, func(there wire.SiteInfo) {
			mu.Lock()
			defer mu.Unlock()
			site = &there
		})
	})
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	failing := false // an outage is told once
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		mu.Lock()
		thereApps, thereSite := apps, site
		mu.Unlock()
		err := errors.Join(b.publishApps(ctx, thereApps), b.publishSite(ctx, thereSite))
		if err != nil && !failing && ctx.Err() == nil {
			b.log.Warn("routers do not hear of this site's apps; retrying", "error", err)
		}
		failing = err != nil
	}
}

// publishWithin bounds one round of writes, so that one that got lost is made again.
const publishWithin = 5 * time.Second

// publishApps makes there, what stands in Consul, what is so. nil is not known yet.
func (b *Broker) publishApps(ctx context.Context, there map[string]wire.App) (err error) {
	want, known := b.apps(time.Now())
	if there == nil || !known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	for id, app := range want {
		app.Updated = there[id].Updated
		if _, ok := there[id]; ok && there[id] == app {
			continue
		}
		app.Updated = time.Now().UTC()
		err = errors.Join(err, b.cfg.Fleet.PublishApp(ctx, app))
	}
	for id := range there {
		if _, ok := want[id]; !ok {
			err = errors.Join(err, b.cfg.Fleet.RemoveApp(ctx, id))
		}
	}
	return err
}

// publishSite is publishApps for what the site says of itself.
func (b *Broker) publishSite(ctx context.Context, there *wire.SiteInfo) error {
	if there == nil || there.Site == b.cfg.Site && slices.Equal(there.Residency, b.cfg.Residency) && slices.Equal(there.GPU, b.cfg.GPU) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	return b.cfg.Fleet.PublishSite(ctx, wire.SiteInfo{
		Site: b.cfg.Site, Residency: b.cfg.Residency, GPU: b.cfg.GPU, Updated: time.Now().UTC()})
}

// apps is what routers are to know.
func (b *Broker) apps(now time.Time) (map[string]wire.App, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]wire.App, len(b.view.jobs.Apps))
	for id, app := range b.view.jobs.Apps {
		t := b.view.tally(app, b.mine(id), now)
		c := wire.Capacity{
			Idle: t.idle + t.old, Busy: t.busy + t.ending, Starting: t.allStarting + t.counts.blocked,
			Queued: b.queues[id].people(), Warm: app.Warm, Max: app.Max,
			ColdStartMS: b.view.coldStarts[id].median().Milliseconds(),
			SessionMS:   b.view.sessionLengths[id].median().Milliseconds(),
		}
		for _, queues := range b.peerQueues {
			c.Queued += queues[id]
		}
		if f := b.view.failures[id]; f != nil && f.failing(app.Version) {
			c.Failing = f.why
		} else if t.counts.blocked > 0 && t.idle+t.busy+t.allStarting == 0 {
			c.Failing = wire.CodeNoCapacity + ": " + t.blocked[0].Why
		}
		out[id] = wire.App{ID: id, Version: app.Version, Title: app.Title, Description: app.Description,
			Picture: app.Picture, Display: app.Display, Capacity: c}
	}
	return out, b.view.known()
}
