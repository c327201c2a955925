package router

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
)

const (
	// silence is how long Consul may have no news of a site, while it has news of
	// others, before sessions are no longer placed there. A site whose routers
	// answer is trusted for longer: see package reach.
	silence = 15 * time.Second
	// freshFor is how long a siteTable is used: parts of it depend on the clock.
	freshFor = 250 * time.Millisecond
)

// MaxStale is how long a router serves from what it saw last, by default.
const MaxStale = 10 * time.Minute

// siteTable is a snapshot with what can be computed once for all requests. A
// site's index is its place in view.Sites.
type siteTable struct {
	view  Snapshot
	made  time.Time
	index map[string]int // by name
	entry int            // index of the router's own site; -1 while it is not known
	// isolated is true where no other site answers: then the own site is cut off.
	isolated bool
	sites    []siteStatus
	rows     []atomic.Pointer[[]distance] // from a site to all others, made on demand

	mu   sync.Mutex
	apps map[string]*appSites
}

// siteStatus is what is computed of a site.
type siteStatus struct {
	// unhealthy says why no session is placed there; empty where one may be.
	unhealthy string
	// silent is true where the reason is that the site does not answer.
	silent bool
	brains []string // WebSocket URLs of the healthy ones; see brainsOf
}

// appSites is an app's capacity at all sites, as placement needs it.
type appSites struct {
	known bool // a site has the app
	// access is the strictest of all sites: public only where all say so.
	access wire.Access
	logins []wire.AppLogin // of the sites that ask for a login: each has to let a person in
	sites  []placement.Site
}

// distance is the round trip between two sites in milliseconds, and its error;
// ms is NaN where there is none to rely on.
type distance struct{ ms, err float64 }

// current is the view to serve from, or a problem that says why there is none.
func (r *Router) current(now time.Time) (Snapshot, error) {
	view := r.cfg.View.Snapshot()
	if !view.Ready {
		return view, notReady()
	}
	if age := now.Sub(view.StaleSince); view.Stale() && age > r.cfg.MaxStale {
		return view, problem(wire.ProblemUnavailable, "",
			"This router lost contact with its site's Consul %s ago, and serves from its last view for %s at most; try another router.",
			age.Round(time.Second), r.cfg.MaxStale)
	}
	return view, nil
}

// siteTable is what is known now, or a problem that says why nothing is.
func (r *Router) siteTable() (*siteTable, error) {
	now := time.Now()
	view, err := r.current(now)
	if err != nil {
		return nil, err
	}
	if t := r.latest.Load(); t != nil && t.isOf(view) && now.Sub(t.made) < freshFor {
		return t, nil
	}
	t := r.newSiteTable(view, now)
	r.latest.Store(t)
	return t, nil
}

func notReady() error {
	return problem(wire.ProblemUnavailable, "", "This router has just started and has not seen any site yet; try again in a moment.")
}

// isOf reports whether the table was made of this view. A list of sites does not
// change once it was handed out, so it is enough to compare where it is.
func (t *siteTable) isOf(view Snapshot) bool {
	return len(t.view.Sites) == len(view.Sites) && t.view.StaleSince.Equal(view.StaleSince) &&
		(len(view.Sites) == 0 || &t.view.Sites[0] == &view.Sites[0])
}

func (r *Router) newSiteTable(view Snapshot, now time.Time) *siteTable {
	n := len(view.Sites)
	t := &siteTable{
		view: view, made: now, entry: -1, index: make(map[string]int, n),
		sites: make([]siteStatus, n), rows: make([]atomic.Pointer[[]distance], n), apps: map[string]*appSites{},
	}
	checked, silent := 0, 0
	for i := range view.Sites {
		s := &view.Sites[i]
		t.index[s.Name] = i
		if s.Name == r.cfg.Site {
			t.entry = i
		} else if s.Reach.Known {
			checked++
			if s.Reach.Silent() {
				silent++
			}
		}
	}
	t.isolated = checked > 0 && silent == checked
	for i := range view.Sites {
		s, out := &view.Sites[i], &t.sites[i]
		out.brains = brainsOf(s.Brains)
		if i == t.entry && r.people == nil {
			r.warnUnserved(s.Apps)
		}
		out.unhealthy, out.silent = t.health(i, now, r.cfg.MaxStale)
	}
	return t
}

// warnUnserved logs, once, which apps ask for a login that this router has not.
func (r *Router) warnUnserved(apps map[string]wire.App) {
	for id, app := range apps {
		if app.Access != wire.AccessLogin {
			continue
		}
		if _, before := r.unserved.LoadOrStore(id, true); !before {
			r.log.Warn("an app asks for a login, and this router has no provider: only launch tokens launch it; set --oidc-issuer", "app", id)
		}
	}
}

// health says why no session may be placed at a site; empty where one may be.
// silent is true where the cause may be this router's site instead.
func (t *siteTable) health(i int, now time.Time, maxStale time.Duration) (unhealthy string, silent bool) {
	s := &t.view.Sites[i]
	noNews := now.Sub(s.StaleSince)
	switch {
	case len(t.sites[i].brains) == 0:
		return string(placement.NoBrain), false
	case i == t.entry:
		// A caller that has reached this router has reached the site.
		return "", false
	case s.Reach.Silent() && t.isolated:
		return fmt.Sprintf("has not answered since %s; no other site answers either, so this router's own site may be cut off",
			s.Reach.SilentSince.UTC().Format(time.TimeOnly)), true
	case s.Reach.Silent():
		return "has not answered since " + s.Reach.SilentSince.UTC().Format(time.TimeOnly), true
	case s.StaleSince.IsZero() || t.view.Stale():
		// Where Consul does not answer at all, the fault is here, and the last view
		// is the best there is.
		return "", false
	case s.Reach.Answers() && !s.Reach.Unhealthy && noNews < maxStale:
		// The site says itself that it is healthy; only Consul does not reach it.
		return "", false
	case noNews >= silence:
		return "no news of it in Consul since " + s.StaleSince.UTC().Format(time.TimeOnly), true
	}
	return "", false
}

// row is the distances from a site to all others.
func (t *siteTable) row(from int) []distance {
	if row := t.rows[from].Load(); row != nil {
		return *row
	}
	distances := t.view.Sites[from].Distances
	row := make([]distance, len(t.view.Sites))
	for i := range row {
		row[i] = distance{ms: math.NaN()}
		d, ok := distances[t.view.Sites[i].Name]
		if i == t.entry {
			// A round trip is the same in the other direction, which this router measured.
			if mine, known := t.view.Sites[i].Distances[t.view.Sites[from].Name]; known {
				d, ok = mine, true
			}
		}
		if i == from {
			row[i].ms = 0
		} else if ok && d.Untrusted == "" && d.RTTMS >= 0 {
			row[i] = distance{ms: d.RTTMS, err: d.ErrorMS}
		}
	}
	t.rows[from].Store(&row)
	return row
}

// between is the distance between two sites, by index, for placement.
func (t *siteTable) between(a, b int) (ms, err float64) {
	d := t.row(a)[b]
	return d.ms, d.err
}

// app is an app's capacity at all sites. Callers do not change it.
func (t *siteTable) app(id string) *appSites {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.apps[id]; ok {
		return a
	}
	a := &appSites{access: wire.AccessPublic, sites: make([]placement.Site, len(t.view.Sites))}
	for i := range t.view.Sites {
		s := &t.view.Sites[i]
		app, present := s.Apps[id]
		a.known = a.known || present
		if present {
			a.open(app)
		}
		c := app.Capacity
		a.sites[i] = placement.Site{
			Name: s.Name, Healthy: t.sites[i].unhealthy == "",
			Present: present, Version: app.Version,
			Idle: c.Idle, Busy: c.Busy, Starting: c.Starting, Queued: c.Queued, Max: c.Max,
			ColdStart: float64(c.ColdStartMS), Session: float64(c.SessionMS), Failing: c.Failing,
			Residency: s.Info.Residency, GPU: s.Info.GPU,
		}
	}
	if a.known { // callers can invent any number of unknown apps: do not keep those
		t.apps[id] = a
	}
	return a
}

// open adds what a site says of who may launch.
func (a *appSites) open(app wire.App) {
	switch {
	case app.Access == wire.AccessLogin:
		a.logins = append(a.logins, app.Login)
		if a.access == wire.AccessPublic {
			a.access = wire.AccessLogin
		}
	case app.Access != wire.AccessPublic: // or it does not say
		a.access = wire.AccessSigned
	}
}
