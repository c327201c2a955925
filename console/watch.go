package console

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// readTimeout bounds the questions of one round.
	readTimeout = 8 * time.Second
	// eventEvery is how often a change is told at most.
	eventEvery = time.Second
	// sitesAtOnce is how many sites are asked at once.
	sitesAtOnce = 8
	// maxSites and maxSessions bound what is shown. It is logged where that is not all.
	maxSites    = 200
	maxSessions = 50_000
)

// Watch reads facts while somebody looks, until ctx ends.
func (c *Console) Watch(ctx context.Context) {
	w := &watch{console: c, parts: map[string]time.Time{}}
	for {
		if c.hub.watched(time.Now()) {
			w.round(ctx)
		}
		rest := min(c.cfg.Refresh, eventEvery)
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
		select {
		case <-ctx.Done():
			return
		case <-c.hub.wake:
		case <-time.After(c.cfg.Refresh - rest):
		}
	}
}

// look says that somebody looks, and waits for the first facts.
func (c *Console) look(ctx context.Context, most time.Duration) {
	c.hub.mu.Lock()
	fresh := time.Since(c.hub.looked) < lingers && len(c.hub.now[sites]) > 0
	c.hub.looked = time.Now()
	before := c.hub.rounds
	c.hub.mu.Unlock()
	if fresh {
		return
	}
	select {
	case c.hub.wake <- struct{}{}:
	default:
	}
	end := time.After(most)
	for {
		c.hub.mu.Lock()
		done, next := c.hub.rounds > before, c.hub.round
		c.hub.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-end:
			return
		case <-next:
		}
	}
}

// watch is the reader of facts. Only Watch uses it.
type watch struct {
	console *Console
	mu      sync.Mutex
	parts   map[string]time.Time // since when a part of a site cannot be read, by "site/what"
}

// note remembers whether a part of a site can be read, and logs when that changes.
func (w *watch) note(site, what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := site + "/" + what
	_, failed := w.parts[key]
	switch {
	case err == nil && failed:
		delete(w.parts, key)
		w.console.log.Info("the console reads again", "site", site, "what", what)
	case err != nil && !failed:
		w.parts[key] = time.Now()
		w.console.log.Warn("the console cannot read a part of a site", "site", site, "what", what, "error", err)
	}
}

// unread are the parts of a site that cannot be read now.
func (w *watch) unread(site string) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, since := range w.parts {
		if what, ok := strings.CutPrefix(key, site+"/"); ok {
			out = append(out, fmt.Sprintf("%s cannot be read since %s.", what, since.UTC().Format(time.TimeOnly)))
		}
	}
	slices.Sort(out)
	return out
}

// silentLast is the order in which sites are read: those that did not answer the last time come last,
// since they may take the round's time from the others.
func (w *watch) silentLast(views []wire.SiteView) (order []int) {
	var silent []int
	for i, v := range views {
		if len(w.unread(v.Site)) > 0 {
			silent = append(silent, i)
			continue
		}
		order = append(order, i)
	}
	return append(order, silent...)
}

// What is read of a site, as the page names it.
const (
	partSessions = "Its sessions"
	partApps     = "Its apps (Consul)"
	partLoad     = "The load of its nodes (Consul)"
	partNodes    = "Its nodes (Nomad)"
	partJobs     = "Its jobs (Nomad)"
)

// round reads everything once, and tells what changed.
func (w *watch) round(ctx context.Context) {
	c, h := w.console, w.console.hub
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	defer h.roundDone()

	views, err := c.cfg.Routers.Sites(ctx)
	w.note(c.cfg.Site, "The router", err)
	if err != nil && len(views) == 0 {
		views = []wire.SiteView{{Site: c.cfg.Site, Unhealthy: "no router of this site answers the console"}}
	}
	if len(views) > maxSites {
		c.log.Warn("the console does not show all sites", "sites", len(views), "shown", maxSites)
		views = views[:maxSites]
	}
	var ch change
	var reads errgroup.Group
	reads.SetLimit(sitesAtOnce)
	counts := map[string]*[2]int{} // sessions, and those that wait
	reads.Go(func() error { w.readSessions(ctx, &ch, views, counts); return nil })
	facts := make([]siteFacts, len(views))
	for _, i := range w.silentLast(views) {
		reads.Go(func() error { facts[i] = w.readSite(ctx, views[i].Site); return nil })
	}
	_ = reads.Wait() // the parts note what failed

	now := items{}
	for i, v := range views {
		s := wire.ConsoleSite{Site: v.Site, Own: v.Site == c.cfg.Site, Healthy: v.Healthy, Unhealthy: v.Unhealthy, RouterURL: v.RouterURL,
			Residency: v.Residency, GPU: v.GPU, Distances: v.Distances, Unread: w.unread(v.Site)}
		if p, ok := c.cfg.Places[v.Site]; ok {
			s.Place, s.Lat, s.Lon = p.Name, &p.Lat, &p.Lon
		}
		if n := counts[v.Site]; n != nil {
			s.Sessions, s.Waiting = n[0], n[1]
		}
		now[v.Site] = encode(s)
		at := func(key string) bool { return strings.HasPrefix(key, v.Site+"/") }
		if facts[i].apps != nil {
			h.set(&ch, apps, facts[i].apps, at)
		}
		if facts[i].nodes != nil {
			h.set(&ch, nodes, facts[i].nodes, at)
		}
	}
	if err == nil { // else a site that is not in the list may be there still
		h.set(&ch, sites, now, nil)
		w.forget(&ch, now)
	} else {
		h.set(&ch, sites, now, func(string) bool { return false })
	}
	h.tell(&ch, time.Now())
}

// forget drops the apps and nodes of sites that were removed.
func (w *watch) forget(ch *change, now items) {
	removed := func(key string) bool {
		site, _, _ := strings.Cut(key, "/")
		_, have := now[site]
		return !have
	}
	w.console.hub.set(ch, apps, nil, removed)
	w.console.hub.set(ch, nodes, nil, removed)
}

func encode(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // wire types
	}
	return text
}

// readSessions reads the sessions of all sites.
func (w *watch) readSessions(ctx context.Context, ch *change, views []wire.SiteView, counts map[string]*[2]int) {
	list, missing, err := w.console.cfg.Routers.Sessions(ctx)
	if err != nil {
		for _, v := range views {
			missing = append(missing, v.Site)
		}
	}
	for _, v := range views {
		w.note(v.Site, partSessions, or(err, slices.Contains(missing, v.Site)))
	}
	if len(list) > maxSessions {
		w.console.log.Warn("the console does not show all sessions", "sessions", len(list), "shown", maxSessions)
		list = list[:maxSessions]
	}
	next := make(items, len(list))
	for _, s := range list {
		s.Meta = nil // the customer's own words about a person: the page does not show them
		next[s.Session] = encode(s)
	}
	kept := map[string]bool{}
	for _, site := range missing {
		kept[site] = true
	}
	// What a silent site had stays, marked as old at the site.
	h := w.console.hub
	h.set(ch, sessions, next, func(id string) bool {
		var s struct {
			Site string `json:"site"`
		}
		return json.Unmarshal(h.now[sessions][id], &s) == nil && !kept[s.Site]
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range h.now[sessions] {
		var s struct{ Site, State string }
		if json.Unmarshal(text, &s) != nil {
			continue
		}
		n := counts[s.Site]
		if n == nil {
			n = new([2]int)
			counts[s.Site] = n
		}
		n[0]++
		if s.State == wire.StateWaiting {
			n[1]++
		}
	}
}

func or(err error, missing bool) error {
	if err == nil && missing {
		return fmt.Errorf("the site does not answer")
	}
	return err
}

// siteFacts are the items of a site; nil where they cannot be read.
type siteFacts struct{ apps, nodes items }

// readSite reads the apps and nodes of a site.
func (w *watch) readSite(ctx context.Context, site string) (out siteFacts) {
	cfg := w.console.cfg
	published, err := cfg.Catalog.Apps(ctx, site)
	w.note(site, partApps, err)
	jobs, jobsErr := cfg.Nomad.Jobs(ctx, site)
	w.note(site, partJobs, jobsErr)
	if err == nil && jobsErr == nil {
		out.apps = items{}
		for id, a := range published {
			j := jobs[id]
			out.apps[site+"/"+id] = encode(wire.ConsoleApp{Site: site, App: id, Title: a.Title, Access: a.Access, Version: a.Version,
				Pool: j.Pool, Capacity: a.Capacity, Failure: cmp.Or(j.Failure.Why, a.Capacity.Failing), FailedAt: j.Failure.At})
		}
	}
	load, loadErr := cfg.Catalog.Nodes(ctx, site)
	w.note(site, partLoad, loadErr)
	known, err := cfg.Nomad.Nodes(ctx, site)
	w.note(site, partNodes, err)
	if err != nil {
		return out
	}
	byName := map[string]wire.Node{}
	for _, n := range load {
		if n.Healthy {
			byName[n.Name] = n
		}
	}
	out.nodes = items{}
	for _, n := range known {
		if l, ok := byName[n.Name]; ok {
			n.Load, n.CPU, n.Memory, n.GPU, n.Seats = l.Class, l.CPU, l.Memory, l.GPU, maps.Clone(l.Seats)
		}
		out.nodes[site+"/"+n.ID] = encode(n)
	}
	return out
}
