package brain

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	publishEvery = 250 * time.Millisecond
	// publishWithin limits one round of writes. A write that is lost is repeated
	// in the next round.
	publishWithin = 5 * time.Second
	// smallChangesEvery is how often an app is written at most for changes that are small:
	// those that would send nobody elsewhere.
	// Each session changes its app's counts at least three times, and each write goes through
	// Raft.
	smallChangesEvery = 5 * time.Second
)

// publishLoop keeps what routers read up to date. It compares with what is in
// Consul, not with what it wrote last. So it also removes what an earlier leader
// left, and fills a Consul that has lost its data.
func (l *leader) publishLoop(ctx context.Context) {
	var (
		mu       sync.Mutex
		apps     map[string]wire.App
		site     *wire.SiteInfo
		watching sync.WaitGroup
	)
	defer watching.Wait()
	watching.Go(func() {
		l.fleet.WatchApps(ctx, func(now map[string]wire.App) {
			mu.Lock()
			defer mu.Unlock()
			apps = now
		})
	})
	watching.Go(func() {
		l.fleet.WatchSite(ctx, func(now wire.SiteInfo) {
			mu.Lock()
			defer mu.Unlock()
			site = &now
		})
	})
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	failing := false // so that an outage is logged once
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		mu.Lock()
		inConsul, siteInConsul := apps, site
		mu.Unlock()
		err := errors.Join(l.publishApps(ctx, inConsul), l.publishSite(ctx, siteInConsul))
		if err != nil && !failing && ctx.Err() == nil {
			l.log.Warn("cannot publish to routers; retrying", "error", err)
		}
		failing = err != nil
	}
}

// publishApps writes the apps that differ from those in Consul. inConsul is nil
// while it is not known.
func (l *leader) publishApps(ctx context.Context, inConsul map[string]wire.App) (err error) {
	want, known := l.state.apps(time.Now())
	if inConsul == nil || !known {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	for _, id := range dueApps(inConsul, want, time.Now()) {
		app := want[id]
		app.Updated = time.Now().UTC()
		err = errors.Join(err, l.fleet.PublishApp(ctx, app))
	}
	for id := range inConsul {
		if _, ok := want[id]; !ok {
			err = errors.Join(err, l.fleet.RemoveApp(ctx, id))
		}
	}
	return err
}

// dueApps are the apps to be written, those first that are not in Consul or were written
// longest ago: where Consul is slow, one round does not come to all.
func dueApps(inConsul, want map[string]wire.App, now time.Time) (ids []string) {
	for id, app := range want {
		if is, ok := inConsul[id]; !ok || due(is, app, now) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(inConsul[a].Updated.Compare(inConsul[b].Updated), cmp.Compare(a, b))
	})
	return ids
}

// due reports whether an app is to be written, given what is in Consul.
func due(is, want wire.App, now time.Time) bool {
	want.Updated = is.Updated
	// An age below zero is another brain's clock, which may be a day ahead.
	if age := now.Sub(is.Updated); age >= 0 && age < smallChangesEvery && outlook(is.Capacity) == outlook(want.Capacity) {
		spare := min(is.Capacity.Idle-is.Capacity.Queued, want.Capacity.Idle-want.Capacity.Queued)
		for count, was := range map[*int]int{
			&want.Capacity.Idle: is.Capacity.Idle, &want.Capacity.Busy: is.Capacity.Busy,
			&want.Capacity.Starting: is.Capacity.Starting, &want.Capacity.Queued: is.Capacity.Queued,
		} {
			differs := max(was-*count, *count-was)
			few := min(was, *count) > 2 && differs == 1
			// Few more or less play, beside the seats that are free.
			ample := count == &want.Capacity.Busy && 8*differs <= spare
			if few || ample || near(int64(was), int64(*count)) {
				*count = was
			}
		}
		if outlook(want.Capacity) == idleSeats {
			want.Capacity.Starting = is.Capacity.Starting // nobody waits for these
		}
		for ms, was := range map[*int64]int64{
			&want.Capacity.ColdStartMS: is.Capacity.ColdStartMS, &want.Capacity.SessionMS: is.Capacity.SessionMS,
		} {
			if near(was, *ms) {
				*ms = was
			}
		}
	}
	return !reflect.DeepEqual(is, want)
}

// near reports whether two counts differ by at most an eighth.
func near(a, b int64) bool { return 8*max(a-b, b-a) <= max(a, b) }

// What the next person would get, as routers see it (router/placement).
const (
	idleSeats = iota
	startingSeats
	roomForMore
	onlyAQueue
)

// outlook says which of them it is.
func outlook(c wire.Capacity) int {
	free := c.Idle - c.Queued
	switch coming := free + c.Starting; {
	case free > 0:
		return idleSeats
	case coming > 0:
		return startingSeats
	case coming+max(0, c.Max-c.Idle-c.Busy-c.Starting) > 0:
		return roomForMore
	default:
		return onlyAQueue
	}
}

// publishSite is publishApps for the site's own record.
func (l *leader) publishSite(ctx context.Context, inConsul *wire.SiteInfo) error {
	if inConsul == nil || inConsul.Site == l.site.Site && slices.Equal(inConsul.Residency, l.site.Residency) && slices.Equal(inConsul.GPU, l.site.GPU) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	info := l.site
	info.Updated = time.Now().UTC()
	return l.fleet.PublishSite(ctx, info)
}

// apps is what routers need to know. known is false until Consul and Nomad have
// answered.
func (st *state) apps(now time.Time) (apps map[string]wire.App, known bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make(map[string]wire.App, len(st.view.apps))
	for id, a := range st.view.apps {
		if !a.published {
			continue
		}
		app := a.app
		c := wire.Capacity{
			Idle: a.idle + a.old, Busy: a.counts.busy + a.ending, Starting: len(a.coming) + a.counts.blocked,
			Queued: st.lines[id].count(app.Version, now).people, Warm: a.aim(), Max: app.Max,
			ColdStartMS: a.coldStarts.median().Milliseconds(),
			SessionMS:   a.sessionLengths.mean().Milliseconds(),
		}
		if ms := st.nodeStart(a, now); ms > 0 {
			// Routers prefer a site where a seat starts at once. What waits for a node does not start.
			c.ColdStartMS, c.Starting = max(ms, c.ColdStartMS), len(a.coming)
		}
		if end := st.failureNow(a, now); end != nil {
			c.Failing = end.Public().String() // everybody reads it at the routers
		}
		out[id] = wire.App{ID: id, Version: app.Version, Title: app.Title, Description: app.Description,
			Picture: app.Picture, Access: app.Access, Login: app.Login, Display: app.Display, Params: app.Params, Capacity: c}
	}
	return out, st.view.known()
}
