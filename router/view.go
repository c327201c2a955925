package router

import (
	"cmp"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/reach"
)

// View is what is known of all sites. Package consul keeps one.
type View interface {
	// Snapshot is what is known now. It does not change once it was returned.
	// Snapshots between which nothing changed may share the same Sites: then the
	// router computes once what it needs of them.
	Snapshot() Snapshot
}

// Snapshot is what is known of all sites at one moment.
type Snapshot struct {
	// Ready is false until the router's own site was seen for the first time.
	Ready bool
	// StaleSince is when the own site was seen last, if Consul does not answer now.
	StaleSince time.Time
	// Sites are sorted by name.
	Sites []Site
	// LaunchKeys check launch tokens. The map does not change once it was handed out.
	LaunchKeys ticket.LaunchKeys
	// APIKeys are those of customers' servers. The map does not change either.
	APIKeys ticket.APIKeys
}

// Stale reports whether the snapshot may be out of date.
func (s Snapshot) Stale() bool { return !s.StaleSince.IsZero() }

// Site finds a site by name.
func (s Snapshot) Site(name string) (Site, bool) {
	i, ok := slices.BinarySearchFunc(s.Sites, name, func(t Site, name string) int { return cmp.Compare(t.Name, name) })
	if !ok {
		return Site{}, false
	}
	return s.Sites[i], true
}

// Site is one site.
type Site struct {
	Name    string
	Apps    map[string]wire.App // by id
	Brains  []wire.Instance
	Routers []wire.Instance
	// Info is what the site says of itself; zero before it does.
	Info wire.SiteInfo
	// StaleSince is when the last news of this site came, if there is none now.
	StaleSince time.Time
	// Reach is whether its routers answer this one; zero where they are not checked.
	Reach reach.State
	// Distances are the round trips to other sites, by name.
	Distances map[string]wire.Distance
}

// pick chooses a healthy instance at random, so that instances share the load.
func pick(of []wire.Instance, chance func() float64) (wire.Instance, bool) {
	healthy := 0
	for _, i := range of {
		if i.Healthy {
			healthy++
		}
	}
	if healthy == 0 {
		return wire.Instance{}, false
	}
	nth := 0
	if healthy > 1 {
		nth = min(int(chance()*float64(healthy)), healthy-1)
	}
	for _, i := range of {
		if !i.Healthy {
			continue
		}
		if nth == 0 {
			return i, true
		}
		nth--
	}
	return wire.Instance{}, false
}
