package router

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/placement"
)

const (
	// silence is how long there may be no word of a site in Consul, while there
	// is of others, before nobody is sent there. Routers that answer for
	// themselves are believed longer: see reach.
	silence = 15 * time.Second
	// freshFor is how long what was computed of a snapshot is used: it depends on
	// the clock, too.
	freshFor = 250 * time.Millisecond
)

// MaxStale is how long a router serves from what it saw last, by default.
const MaxStale = 10 * time.Minute

// world is a snapshot with what can be computed once for all requests.
type world struct {
	view  Snapshot
	made  time.Time
	index map[string]int // of a site by its name
	entry int            // index of the router's own site; -1 while it is not known
	// isolated is true where no other site answers: the trouble is at this end.
	isolated bool
	sites    []siteWorld
	rows     []atomic.Pointer[[]span] // distances from a site to all others, as asked for

	mu   sync.Mutex
	apps map[string]*appWorld
}

// siteWorld is what is computed of a site.
type siteWorld struct {
	// trouble says why nobody is sent there, for all apps; empty where there is none.
	trouble string
	// silent is true where the trouble is that it does not answer.
	silent bool
	brains []string // WebSocket URLs of the healthy ones
}

// appWorld is an app's room at all sites, ready for placement.
type appWorld struct {
	known bool // some site has it
	sites []placement.Site
}

// span is a distance between two sites; ms is NaN where none can be trusted.
type span struct{ ms, off float64 }

// world is what is known now, or a problem that says why nothing is.
func (r *Router) world() (*world, error) {
	view := r.cfg.View.Snapshot()
	if !view.Ready {
		return nil, notReady()
	}
	now := time.Now()
	if age := now.Sub(view.StaleSince); view.Stale() && age > r.cfg.MaxStale {
		return nil, problem(wire.ProblemUnavailable, "",
			"This router has lost sight of its site's Consul %s ago, and serves from what it saw last for %s at most; try another router.",
			age.Round(time.Second), r.cfg.MaxStale)
	}
	if w := r.last.Load(); w != nil && w.of(view) && now.Sub(w.made) < freshFor {
		return w, nil
	}
	w := r.see(view, now)
	r.last.Store(w)
	return w, nil
}

// of reports whether w was made of this view. Sites are never changed once they
// are handed out, so the same list is the same world.
func (w *world) of(view Snapshot) bool {
	return len(w.view.Sites) == len(view.Sites) && w.view.StaleSince.Equal(view.StaleSince) &&
		(len(view.Sites) == 0 || &w.view.Sites[0] == &view.Sites[0])
}

// see computes what can be computed once.
func (r *Router) see(view Snapshot, now time.Time) *world {
	n := len(view.Sites)
	w := &world{
		view: view, made: now, entry: -1, index: make(map[string]int, n),
		sites: make([]siteWorld, n), rows: make([]atomic.Pointer[[]span], n), apps: map[string]*appWorld{},
	}
	asked, silent := 0, 0
	for i := range view.Sites {
		s := &view.Sites[i]
		w.index[s.Name] = i
		if s.Name == r.cfg.Site {
			w.entry = i
		} else if s.Reach.Known {
			asked++
			if s.Reach.Silent() {
				silent++
			}
		}
	}
	w.isolated = asked > 0 && silent == asked
	for i := range view.Sites {
		s, out := &view.Sites[i], &w.sites[i]
		for _, b := range s.Brains {
			if u := connectURL(b.URL); b.Healthy && u != "" {
				out.brains = append(out.brains, u)
			}
		}
		out.trouble, out.silent = r.trouble(w, i, now)
	}
	return w
}

// trouble says why nobody should be sent to a site; empty where nothing speaks
// against it. silent is true where others than the site may be to blame.
func (r *Router) trouble(w *world, i int, now time.Time) (why string, silent bool) {
	s := &w.view.Sites[i]
	unheard := now.Sub(s.StaleSince)
	switch {
	case len(w.sites[i].brains) == 0:
		return string(placement.NoBrain), false
	case i == w.entry:
		// Whoever has reached this router has reached the site.
		return "", false
	case s.Reach.Silent() && w.isolated:
		return fmt.Sprintf("does not answer since %s, and neither does any other site: this router's own may be cut off",
			s.Reach.SilentSince.UTC().Format(time.TimeOnly)), true
	case s.Reach.Silent():
		return "does not answer since " + s.Reach.SilentSince.UTC().Format(time.TimeOnly), true
	case s.StaleSince.IsZero() || w.view.Stale():
		// When Consul says nothing at all the trouble is at this end, and what was
		// seen last is the best there is.
		return "", false
	case s.Reach.Answers() && !s.Reach.Unhealthy && unheard < r.cfg.MaxStale:
		// The site says itself that it is well; only Consul's way there is broken.
		return "", false
	case unheard >= silence:
		return "no word of it in Consul since " + s.StaleSince.UTC().Format(time.TimeOnly), true
	}
	return "", false
}

// brain picks one of a site's brains, so that replicas share the load. It is
// empty where there is none.
func (w *world) brain(i int, chance func() float64) string {
	switch of := w.sites[i].brains; len(of) {
	case 0:
		return ""
	case 1:
		return of[0]
	default:
		return of[min(int(chance()*float64(len(of))), len(of)-1)]
	}
}

// row gives the distances from a site to all others, by index.
func (w *world) row(from int) []span {
	if row := w.rows[from].Load(); row != nil {
		return *row
	}
	distances := w.view.Sites[from].Distances
	row := make([]span, len(w.view.Sites))
	for i := range row {
		row[i] = span{ms: math.NaN()}
		d, ok := distances[w.view.Sites[i].Name]
		if i == w.entry {
			// The way is as long in the other direction, and from here it was measured.
			if mine, known := w.view.Sites[i].Distances[w.view.Sites[from].Name]; known {
				d, ok = mine, true
			}
		}
		if i == from {
			row[i].ms = 0
		} else if ok && d.Untrusted == "" && d.RTTMS >= 0 {
			row[i] = span{ms: d.RTTMS, off: d.ErrorMS}
		}
	}
	w.rows[from].Store(&row)
	return row
}

// between is the distance between two sites, by index, for placement.
func (w *world) between(a, b int) (ms, off float64) {
	d := w.row(a)[b]
	return d.ms, d.off
}

// app gives an app's room at all sites. What placement reads of it is shared.
func (w *world) app(id string) *appWorld {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.apps[id]; ok {
		return a
	}
	a := &appWorld{sites: make([]placement.Site, len(w.view.Sites))}
	for i := range w.view.Sites {
		s := &w.view.Sites[i]
		app, present := s.Apps[id]
		a.known = a.known || present
		room := app.Capacity
		a.sites[i] = placement.Site{
			Name: s.Name, Healthy: w.sites[i].trouble == "",
			Present: present, Version: app.Version,
			Idle: room.Idle, Busy: room.Busy, Starting: room.Starting, Queued: room.Queued, Max: room.Max,
			ColdStart: float64(room.ColdStartMS), Session: float64(room.SessionMS), Failing: room.Failing,
			Residency: s.Info.Residency, GPU: s.Info.GPU,
		}
	}
	if a.known { // what nobody has is a caller's invention, and not worth keeping
		w.apps[id] = a
	}
	return a
}

// connectPath is the WebSocket of a brain.
const connectPath = "/v1/connect"

// connectURL is the WebSocket of a brain that is registered by its address alone.
func connectURL(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return ""
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = connectPath
	}
	return u.String()
}

func notReady() error {
	return problem(wire.ProblemUnavailable, "", "This router has just started and has not seen any site yet; try again in a moment.")
}
