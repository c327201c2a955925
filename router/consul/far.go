package consul

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router"
	"github.com/nearcast/nearcast/router/reach"
)

const (
	// lookEvery is how often is looked which sites are to be read from Consul.
	lookEvery = 250 * time.Millisecond
	// readsAtOnce is how many sites are read at once. A question across the WAN takes a
	// round trip, so two hundred sites are read once within a few seconds.
	readsAtOnce = 16
	// readTimeout bounds the questions about one site.
	readTimeout = 5 * time.Second
	// readEvery is how often a site is read whose routers do not tell its facts, while
	// there are few such sites, and readEach what each of them adds.
	readEvery = 10 * time.Second
	readEach  = 100 * time.Millisecond
	// againSoon is how soon a site is read again whose routers are not known yet.
	againSoon = 2 * time.Second
)

// far is how another site was read from Consul.
type far struct {
	added   time.Time
	tried   time.Time // the last question was sent
	located time.Time // Consul has said where its routers are
	read    time.Time // Consul has said everything
	failed  bool      // the last question was not answered
	reading bool
}

// due says what is to be asked of Consul about a site now: where its routers are, or
// everything. While its routers tell its facts, nothing.
func (f *far) due(now time.Time, told time.Time, routers bool, grace, every time.Duration) (where, all bool) {
	since, untold := now.Sub(f.tried), now.Sub(later(f.added, told))
	switch {
	case f.reading || !told.IsZero() && untold <= grace:
		return false, false
	case f.located.IsZero():
		return since >= againSoon, false
	case untold > grace && f.read.IsZero() && !f.failed:
		return false, true
	case untold > grace && since >= every:
		return false, true
	}
	return !routers && since >= againSoon, false
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// followFar reads other sites from Consul where their routers do not tell enough, until
// ctx ends. No question waits for a change.
func (v *View) followFar(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var reads errgroup.Group
	defer reads.Wait()
	reads.SetLimit(readsAtOnce)
	for {
		for _, r := range v.toRead(time.Now()) {
			reads.Go(func() error { v.readFar(ctx, r.site, r.all); return nil })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

type toRead struct {
	site *site
	all  bool
}

// toRead are the sites that are to be read now, and marks them as being read.
func (v *View) toRead(now time.Time) (out []toRead) {
	v.mu.Lock()
	defer v.mu.Unlock()
	grace, untold := v.monitor.Grace(), 0
	for _, s := range v.sites {
		if s.name != v.own && now.Sub(v.monitor.State(s.name).FactsAt) > grace {
			untold++
		}
	}
	v.readEvery = max(readEvery, time.Duration(untold)*readEach)
	for _, s := range v.sites {
		if s.name == v.own {
			continue
		}
		told := v.monitor.State(s.name).FactsAt
		if where, all := s.far.due(now, told, len(s.routers) > 0, grace, v.readEvery); where || all {
			s.far.reading = true
			out = append(out, toRead{s, all})
		}
	}
	return out
}

// readFar asks Consul about another site: where its routers are, or everything.
func (v *View) readFar(ctx context.Context, s *site, all bool) {
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	v.mu.Lock()
	s.far.tried = time.Now()
	v.mu.Unlock()
	at := v.fleet.At(s.name)
	var got site
	reads, within := errgroup.WithContext(within)
	reads.Go(func() (err error) { got.routers, err = at.Instances(within, wire.RouterService); return })
	if all {
		reads.Go(func() (err error) { got.brains, err = at.Instances(within, wire.BrainService); return })
		reads.Go(func() (err error) { got.apps, err = at.Apps(within); return })
		reads.Go(func() (err error) { got.info, err = at.SiteInfo(within); return })
	}
	err := reads.Wait()
	now := time.Now()
	v.mu.Lock()
	s.far.reading = false
	first := err != nil && !s.far.failed
	if s.far.failed = err != nil; err == nil {
		s.routers, s.far.located = got.routers, now
		if all {
			s.apps, s.brains, s.info, s.far.read = got.apps, got.brains, got.info, now
		}
	}
	v.mu.Unlock()
	if first && ctx.Err() == nil {
		v.log.Warn("cannot read a site from consul; trying again", "site", s.name, "error", err)
	}
	v.retarget()
	v.notify()
}

// farSnapshot is another site, without Distances: what its routers told, or what Consul
// said where that is newer and they are overdue.
func (s *site) farSnapshot(now time.Time, state reach.State, grace, fresh time.Duration) router.Site {
	out := router.Site{Name: s.name, Reach: state}
	if told := state.Facts; told != nil && (now.Sub(state.FactsAt) <= grace || state.FactsAt.After(s.far.read)) {
		out.Apps, out.Brains, out.Routers, out.Info = told.Apps, told.Brains, told.Routers, told.Info
		if len(out.Routers) == 0 {
			out.Routers = s.routers // one of them has just answered
		}
		if out.StaleSince = state.StaleSince; out.StaleSince.IsZero() && now.Sub(state.FactsAt) > grace {
			out.StaleSince = state.FactsAt
		}
		return out
	}
	out.Apps, out.Brains, out.Routers, out.Info = s.apps, s.brains, s.routers, s.info
	switch {
	case s.far.read.IsZero():
		out.StaleSince = s.far.added
	case s.far.failed, now.Sub(s.far.read) > fresh:
		out.StaleSince = s.far.read
	}
	return out
}

// target is where a site's routers are asked, the healthy ones first.
func target(name string, routers []wire.Instance) reach.Target {
	t := reach.Target{Site: name}
	for _, healthy := range []bool{true, false} {
		for _, i := range routers {
			if i.Healthy == healthy && i.URL != "" {
				t.URLs = append(t.URLs, i.URL)
			}
		}
	}
	return t
}
