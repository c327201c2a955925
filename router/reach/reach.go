// Package reach finds out whether the routers of other sites answer, and how
// long it takes.
//
// A site that is cut off drops packets silently. Consul's gossip takes half a
// minute to notice, and a query that is forwarded to such a site hangs. So a
// router checks for itself: it sends GET /healthz to a router of each other
// site, on a connection that it keeps open. It does so Every 0.5 s while there
// are few sites, and never more than Budget (50) times a second in total.
//
//	answers   a router answered, or its node refused the connection: a node that
//	          refuses can be reached, and Consul knows whether its brains live
//	missed    no answer within about two round trips and 300 ms, 1 s at most
//	silent    a check was missed, and so were three more that followed at once,
//	          on new connections, to up to three of the site's routers. A site
//	          that has never answered is not called silent: perhaps its routers
//	          cannot be reached from here on purpose
//
// With a round trip of 100 ms, a cut is noticed after 0.4 to 1.6 s. One lost
// packet makes no site silent. One answer ends the silence.
//
// The checks also measure the round trip between the sites, better than any
// coordinates: it is the least of the last samples.
//
// The answer to a check has the version of the facts of the site (package facts): its
// apps with their capacity, its brains and routers. Where the version is another one than
// the monitor knows, the answer has what changed since, too, if that is short. Else the
// monitor asks for it (GET /v1/facts), on a connection that is open, within 5 s, and while the
// checks go on. From time to time it asks for the
// distances, too, that the router measured. So each router learns what all sites have, and
// the distance between any two of them. Facts that a router tells to routers alone need
// Config.Token. What one site's routers tell is of that site; it can be wrong, and it is
// bounded.
//
//	m := reach.New(reach.Config{Changed: func(site string) { … }})
//	m.Watch([]reach.Target{{Site: "us-east-1", URLs: []string{"https://us.play.example"}}})
//	go m.Run(ctx) // until ctx ends
//	m.State("us-east-1").Silent()
package reach

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/facts"
)

const (
	// Every is the time between two checks of a site while there are few sites.
	Every = 500 * time.Millisecond
	// Budget is the number of checks a second in total, at most.
	Budget = 50
	// samples is how many round trips count for State.RTTMS.
	samples = 16
	// distancesEvery is how often a router is asked for its distances while there
	// are few sites, distancesSoon while it does not have all of them yet, and
	// distancesEach what each site adds to the former.
	distancesEvery = 10 * time.Second
	distancesSoon  = 2 * time.Second
	distancesEach  = 300 * time.Millisecond
	// confirmations is how many checks must miss, after the first, for silence.
	confirmations = 3
	// A check may take twice the round trip and extraTimeout, but at most maxTimeout.
	extraTimeout = 300 * time.Millisecond
	maxTimeout   = time.Second
)

// Target is a site and the addresses of its routers.
type Target struct {
	Site string
	// URLs of its routers, without a path, the healthy ones first.
	URLs []string
}

// State is what is known of a site. The zero value stands for a site that was
// not checked or has not answered yet.
type State struct {
	// Known is true once the site has answered.
	Known bool
	// SilentSince is when the site fell silent; zero while it answers.
	SilentSince time.Time
	// Unhealthy is true where the router that answered does not see its own site.
	Unhealthy bool
	// RTTMS is the least round trip of the last samples, and ErrorMS how far the
	// samples lie above it; 0 before the first sample.
	RTTMS, ErrorMS float64
	// Measured is the time of the last sample.
	Measured time.Time
	// Distances are the round trips to other sites that the site's router has
	// measured, and DistancesAt is when it sent them. The map does not change.
	Distances   map[string]wire.Distance
	DistancesAt time.Time
	// Facts are what the site's routers told last of what it is and has; nil before, and
	// after an answer that could not be used. FactsAt is when they were true last.
	Facts   *facts.Copy
	FactsAt time.Time
	// StaleSince is since when the router that answered does not see its own site.
	StaleSince time.Time
	// Misses counts the checks that were not answered in time.
	Misses uint64
}

// Silent reports whether the site has stopped to answer.
func (s State) Silent() bool { return !s.SilentSince.IsZero() }

// Answers reports whether the site answers.
func (s State) Answers() bool { return s.Known && !s.Silent() }

// Config is what a Monitor needs; the zero value is good.
type Config struct {
	// Changed is called when a site begins to answer or falls silent, or when its facts
	// have changed. It must not block.
	Changed func(site string)
	// Token gives what proves to a site's routers that a router asks; nil is nothing, and
	// then they tell no facts. It must not block.
	Token func(site string) string
	// Log gets those changes; nil is slog.Default().
	Log *slog.Logger
}

// Monitor checks sites. It may be used by many goroutines at once.
type Monitor struct {
	cfg    Config
	client *client

	mu    sync.Mutex
	run   context.Context // nil before Run and after it
	sites map[string]*site
	wg    sync.WaitGroup
}

// site is a site that is checked. Monitor.mu guards it.
type site struct {
	name      string
	urls      []string
	stop      context.CancelFunc // nil while it is not checked
	state     State
	took      [samples]float64 // a ring of round trips in ms
	n         int              // samples ever taken
	warned    bool             // that it has never answered
	requested time.Time        // when its router was last asked for its distances
	asking    bool             // its router is being asked for facts
	untold    bool             // the last question for facts failed
}

// New makes a Monitor that checks nothing yet.
func New(cfg Config) *Monitor {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Changed == nil {
		cfg.Changed = func(string) {}
	}
	if cfg.Token == nil {
		cfg.Token = func(string) string { return "" }
	}
	return &Monitor{cfg: cfg, client: newClient(), sites: map[string]*site{}}
}

// Watch sets the sites to check. What is known of a site that stays is kept.
func (m *Monitor) Watch(targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := make(map[string]bool, len(targets))
	for _, t := range targets {
		if len(t.URLs) == 0 {
			continue
		}
		keep[t.Site] = true
		s, ok := m.sites[t.Site]
		if !ok {
			s = &site{name: t.Site}
			m.sites[t.Site] = s
		}
		// What is at the front has answered last, so an unchanged set keeps its order.
		if !slices.Equal(slices.Sorted(slices.Values(s.urls)), slices.Sorted(slices.Values(t.URLs))) {
			s.urls = slices.Clone(t.URLs)
		}
		m.start(s)
	}
	for name, s := range m.sites {
		if !keep[name] {
			if s.stop != nil {
				s.stop()
			}
			delete(m.sites, name)
		}
	}
}

// start begins to check a site, unless it is checked already. m.mu is held.
func (m *Monitor) start(s *site) {
	if m.run == nil || s.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(m.run)
	s.stop = stop
	m.wg.Go(func() {
		defer stop()
		m.follow(ctx, s)
	})
}

// Run checks the sites until ctx ends, and returns when the last check has
// ended. It may be called once.
func (m *Monitor) Run(ctx context.Context) {
	m.mu.Lock()
	m.run = ctx
	for _, s := range m.sites {
		m.start(s)
	}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	m.run = nil
	m.mu.Unlock()
	m.wg.Wait()
	m.client.close()
}

// State is what is known of a site.
func (m *Monitor) State(name string) State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.sites[name]; ok {
		return s.state
	}
	return State{}
}

// interval is the time between two checks of a site.
func (m *Monitor) interval() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(Every, time.Duration(len(m.sites))*time.Second/Budget)
}

// follow checks one site until ctx ends.
func (m *Monitor) follow(ctx context.Context, s *site) {
	// A random start spreads the checks of the sites.
	next := time.NewTimer(rand.N(Every))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		begun := time.Now()
		m.check(ctx, s)
		next.Reset(max(0, m.interval()-time.Since(begun)))
	}
}

// check checks a site once, and confirms a miss.
func (m *Monitor) check(ctx context.Context, s *site) {
	m.mu.Lock()
	urls, timeout, silent, have := s.urls, s.timeout(), s.state.Silent(), s.version()
	m.mu.Unlock()
	// The kept connection of a silent site is dead: use a new one.
	got := m.client.check(ctx, urls[0], m.cfg.Token(s.name), have, timeout, !silent)
	if ctx.Err() != nil {
		return
	}
	m.record(s, got, false)
	m.learn(ctx, s, got)
	if !got.missed() || silent {
		return
	}
	got = m.confirm(ctx, urls, m.cfg.Token(s.name), min(2*timeout, maxTimeout))
	if ctx.Err() == nil {
		m.record(s, got, true)
		m.learn(ctx, s, got)
	}
}

// confirm checks several routers of a site at once, each on a new connection,
// and takes the first that answers.
func (m *Monitor) confirm(ctx context.Context, urls []string, token string, timeout time.Duration) result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, confirmations)
	for i := range confirmations {
		go func() { results <- m.client.check(ctx, urls[(i+1)%len(urls)], token, "", timeout, false) }()
	}
	var got result
	answered := false
	for range confirmations { // wait for all: no goroutine may outlive this call
		r := <-results
		if answered {
			continue
		}
		got = r
		if !r.missed() {
			answered = true
			cancel()
		}
	}
	return got
}

// record takes the result of a check. confirmed is true for a miss that makes
// the site silent.
func (m *Monitor) record(s *site, got result, confirmed bool) {
	m.mu.Lock()
	was, now, never := s.state, time.Now(), false
	switch {
	case got.missed():
		s.state.Misses++
		switch {
		case !confirmed || was.Silent():
		case was.Known:
			s.state.SilentSince = now
		case !s.warned:
			s.warned, never = true, true
		}
	default:
		s.state.Known, s.state.SilentSince, s.state.Unhealthy = true, time.Time{}, got.unhealthy
		s.state.StaleSince = got.health.StaleSince
		if s.state.StaleSince.After(now) {
			s.state.StaleSince = now
		}
		if got.took > 0 {
			s.sample(got.took, now)
		}
		if got.url != s.urls[0] {
			// Another router answered: check that one first from now on.
			s.urls = slices.Clone(s.urls)
			if i := slices.Index(s.urls, got.url); i > 0 {
				s.urls[0], s.urls[i] = s.urls[i], s.urls[0]
			}
		}
	}
	state := s.state
	m.mu.Unlock()
	switch {
	case never:
		m.cfg.Log.Warn("cannot reach any router of a site; relying on consul to know whether it is up", "site", s.name, "url", got.url, "error", got.err)
	case state.Silent() && !was.Silent():
		m.cfg.Log.Warn("site does not answer", "site", s.name, "error", got.err)
	case was.Silent() && !state.Silent():
		m.cfg.Log.Info("site answers again", "site", s.name, "after", now.Sub(was.SilentSince).Round(time.Millisecond))
	}
	if state.Silent() != was.Silent() || state.Known != was.Known {
		m.cfg.Changed(s.name)
	}
}

// sample takes a round trip.
func (s *site) sample(took time.Duration, now time.Time) {
	s.took[s.n%samples] = float64(took) / float64(time.Millisecond)
	s.n++
	sorted := slices.Clone(s.took[:min(s.n, samples)])
	slices.Sort(sorted)
	least := sorted[0]
	s.state.RTTMS = float64(int64(least*100+0.5)) / 100
	s.state.ErrorMS = float64(int64(max(0.1, sorted[len(sorted)/2]-least)*100+0.5)) / 100
	s.state.Measured = now
}

// timeout is how long a check may take.
func (s *site) timeout() time.Duration {
	if s.n == 0 || s.state.Silent() {
		return maxTimeout
	}
	usual := time.Duration((2*s.state.RTTMS + 4*s.state.ErrorMS) * float64(time.Millisecond))
	return min(usual+extraTimeout, maxTimeout)
}
