package consul

import (
	"context"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router"
)

// site is what Consul says of a site: of the own one by watches, of another one by
// questions now and then (see far.go). View.mu guards it.
type site struct {
	name            string
	apps            map[string]wire.App
	brains, routers []wire.Instance // nil before the first answer
	info            wire.SiteInfo
	launchKeys      ticket.LaunchKeys // of the own site alone; nil before the first answer
	apiKeys         ticket.APIKeys    // likewise
	watches         []watch
	far             far // of another site
}

// watch is what a site needs of a fleet.Watch.
type watch interface {
	Stale() bool
	LastSuccess() time.Time
}

// watchSite starts the watches of the own site. v.mu is held.
func (v *View) watchSite(ctx context.Context, s *site) {
	set := func(change func()) {
		v.mu.Lock()
		change()
		v.mu.Unlock()
		v.notify()
	}
	at := v.fleet.At(s.name)
	watches := []*fleet.Watch{
		at.WatchApps(ctx, func(apps map[string]wire.App) { set(func() { s.apps = apps }) }),
		at.WatchInstances(ctx, wire.BrainService, func(list []wire.Instance) { set(func() { s.brains = list }) }),
		at.WatchInstances(ctx, wire.RouterService, func(list []wire.Instance) { set(func() { s.routers = list }) }),
		at.WatchSite(ctx, func(info wire.SiteInfo) { set(func() { s.info = info }) }),
		at.LaunchKeys().Watch(ctx, func(keys map[string]wire.LaunchKey) { set(func() { s.launchKeys = v.parseKeys(keys) }) }),
		at.APIKeys().Watch(ctx, func(keys map[string]wire.APIKey) { set(func() { s.apiKeys = v.parseAPIKeys(keys) }) }),
	}
	for _, w := range watches {
		s.watches = append(s.watches, w)
		v.running.Go(func() { <-w.Done() })
	}
}

// parseKeys leaves out keys that no router could check a token with.
func (v *View) parseKeys(records map[string]wire.LaunchKey) ticket.LaunchKeys {
	keys := make(ticket.LaunchKeys, len(records))
	for id, r := range records {
		key, err := ticket.ParseLaunchKey(r.ID, r.Name, r.PublicKey, r.Apps)
		if err != nil {
			v.log.Warn("ignored a launch key; register it again with nearcast key create", "id", id, "name", r.Name, "error", err)
			continue
		}
		keys[id] = key
	}
	return keys
}

// parseAPIKeys leaves out keys that no router could compare with.
func (v *View) parseAPIKeys(records map[string]wire.APIKey) ticket.APIKeys {
	keys := make(ticket.APIKeys, len(records))
	for id, r := range records {
		key, err := ticket.ParseAPIKey(r.ID, r.Customer, r.SHA256, r.Scopes)
		if err != nil {
			v.log.Warn("ignored an API key; revoke it, and make another with nearcast apikey create", "id", id, "error", err)
			continue
		}
		keys[id] = key
	}
	return keys
}

// seen reports whether Consul has answered for everything that a launch needs at
// the router's own site.
func (s *site) seen() bool {
	return s.apps != nil && s.brains != nil && s.routers != nil && s.launchKeys != nil
}

// staleSince is when the site was last known completely, if it is not now.
// start stands for a watch that has had no answer yet.
func (s *site) staleSince(start time.Time) time.Time {
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

// snapshot is the own site without Reach and Distances.
func (s *site) snapshot(start time.Time) router.Site {
	return router.Site{
		Name: s.name, Apps: s.apps, Brains: s.brains, Routers: s.routers, Info: s.info,
		StaleSince: s.staleSince(start),
	}
}
