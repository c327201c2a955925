// Package reach asks the routers of other sites, again and again, whether they
// answer and how long it takes.
//
// A site that is cut off drops packets without a word. Consul's gossip takes
// half a minute to notice, and a query forwarded there hangs. So a router looks
// for itself: a GET of /healthz at a router of each other site, on a connection
// that is kept, Every (0.5 s) while sites are few and never more than Budget
// (50) a second in total.
//
//	answers   a router said something, or the machine refused the connection:
//	          whoever refuses can be reached, and whether its brains live is
//	          Consul's business
//	missed    nothing came in about two round trips and 300 ms, 1 s at most
//	silent    the question missed, and so did all of those that were asked at
//	          once thereupon, on connections of their own, of up to three of the
//	          site's routers. A site that has never answered is not called silent:
//	          its routers may just not be meant to be reached from here
//
// With a round trip of 100 ms a cut is noticed 0.4 to 1.6 s after it happened.
// A lost packet makes no site silent. One answer makes it answer again.
//
// What is measured on the way is the round trip between the sites, better than
// any coordinates: the least of the last samples. Each router measures its own
// ways, and asks the others now and then, by GET /v1/sites, for what they
// measured of theirs: so every router comes to know the way between any two.
//
//	p := reach.New(reach.Config{Changed: func(site string) { … }})
//	p.Watch([]reach.Target{{Site: "us-east-1", URLs: []string{"https://us.play.example"}}})
//	err := p.Run(ctx) // until ctx ends
//	p.State("us-east-1").Silent()
package reach

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// Every is how often a site is asked while sites are few.
	Every = 500 * time.Millisecond
	// Budget is how many questions a second are asked in total.
	Budget = 50
	// samples are as many as a round trip is made of.
	samples = 16
	// rowEvery is how often a site's router is asked for what it has measured
	// while sites are few, rowSoon while it has not measured all of them yet, and
	// rowEach what each site adds to that.
	rowEvery = 10 * time.Second
	rowSoon  = 2 * time.Second
	rowEach  = 300 * time.Millisecond
	// voices is how many questions must miss, after the first, for silence.
	voices = 3
	// A question may take twice the round trip and patience, within these.
	patience    = 300 * time.Millisecond
	mostPatient = time.Second
)

// Target is a site and where its routers are reached.
type Target struct {
	Site string
	// URLs of its routers, without a path, the healthy ones first.
	URLs []string
}

// State is what is known of a site. The zero value is that of one nobody has
// asked or that has not answered yet.
type State struct {
	// Known is true once the site has answered.
	Known bool
	// SilentSince is when it fell silent; zero while it answers.
	SilentSince time.Time
	// Blind is true where its routers say that they have lost sight of their own site.
	Blind bool
	// RTTMS is the least round trip of late, and ErrorMS how far samples lie
	// above it; 0 while none was taken.
	RTTMS, ErrorMS float64
	// Measured is when the last sample was taken.
	Measured time.Time
	// Row is what the site's router has measured of its own ways to other sites,
	// and Told when it said so. Nobody changes the map.
	Row  map[string]wire.Distance
	Told time.Time
	// Misses counts the questions that were not answered in time.
	Misses uint64
}

// Silent reports whether the site does not answer.
func (s State) Silent() bool { return !s.SilentSince.IsZero() }

// Answers reports whether the site is known to answer.
func (s State) Answers() bool { return s.Known && !s.Silent() }

// Config is what a Prober needs; the zero value is good.
type Config struct {
	// Changed is told when a site begins to answer or falls silent. It must not block.
	Changed func(site string)
	// Log gets those changes; nil is slog.Default().
	Log *slog.Logger
}

// Prober asks. It may be used by many goroutines at once.
type Prober struct {
	cfg   Config
	asker *asker

	mu    sync.Mutex
	run   context.Context // nil before Run, and after
	sites map[string]*site
	wg    sync.WaitGroup
}

// site is one that is asked. Prober.mu guards it.
type site struct {
	name  string
	urls  []string
	stop  context.CancelFunc // nil while nobody asks
	state State
	took  [samples]float64 // a ring of round trips in ms
	n     int              // samples ever taken
	told  bool             // that it has never answered
	asked time.Time        // when its router was asked for its row last
}

// New makes a Prober that asks nobody yet.
func New(cfg Config) *Prober {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Changed == nil {
		cfg.Changed = func(string) {}
	}
	return &Prober{cfg: cfg, asker: newAsker(), sites: map[string]*site{}}
}

// Watch says whom to ask from now on. What is known of a site that stays is kept.
func (p *Prober) Watch(targets []Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keep := make(map[string]bool, len(targets))
	for _, t := range targets {
		if len(t.URLs) == 0 {
			continue
		}
		keep[t.Site] = true
		s, ok := p.sites[t.Site]
		if !ok {
			s = &site{name: t.Site}
			p.sites[t.Site] = s
		}
		s.urls = slices.Clone(t.URLs)
		p.start(s)
	}
	for name, s := range p.sites {
		if !keep[name] {
			if s.stop != nil {
				s.stop()
			}
			delete(p.sites, name)
		}
	}
}

// start begins to ask a site if nobody does. p.mu is held.
func (p *Prober) start(s *site) {
	if p.run == nil || s.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(p.run)
	s.stop = stop
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		defer stop()
		p.follow(ctx, s)
	}()
}

// Run asks until ctx ends, and returns when nobody asks any more. It may be
// called once.
func (p *Prober) Run(ctx context.Context) {
	p.mu.Lock()
	p.run = ctx
	for _, s := range p.sites {
		p.start(s)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.run = nil
	p.mu.Unlock()
	p.wg.Wait()
	p.asker.close()
}

// State is what is known of a site.
func (p *Prober) State(name string) State {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.sites[name]; ok {
		return s.state
	}
	return State{}
}

// pause is how long to wait between two questions to one site.
func (p *Prober) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(Every, time.Duration(len(p.sites))*time.Second/Budget)
}

// follow asks one site until ctx ends.
func (p *Prober) follow(ctx context.Context, s *site) {
	// Not all at once, also after a start.
	next := time.NewTimer(rand.N(Every))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		begun := time.Now()
		p.once(ctx, s)
		p.row(ctx, s)
		next.Reset(max(0, p.pause()-time.Since(begun)))
	}
}

// once asks a site, and makes sure where it does not answer.
func (p *Prober) once(ctx context.Context, s *site) {
	p.mu.Lock()
	urls, wait, silent := s.urls, s.patience(), s.state.Silent()
	p.mu.Unlock()
	// A silent site's connection leads nowhere, and a new one takes twice as long.
	got := p.asker.ask(ctx, urls[0], wait, !silent)
	if ctx.Err() != nil {
		return
	}
	p.note(s, got, false)
	if !got.missed() || silent {
		return
	}
	got = p.insist(ctx, urls, min(2*wait, mostPatient))
	if ctx.Err() == nil {
		p.note(s, got, true)
	}
}

// row asks a site's router for what it has measured, if it is time to, without
// keeping the next question waiting.
func (p *Prober) row(ctx context.Context, s *site) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := max(rowEvery, time.Duration(len(p.sites))*rowEach)
	if len(s.state.Row) < len(p.sites) && len(p.sites) <= wire.MaxRace {
		every = rowSoon // it has just started, as perhaps all have
	}
	if !s.state.Answers() || s.state.Blind || time.Since(s.asked) < every || ctx.Err() != nil {
		return
	}
	s.asked = time.Now()
	url := s.urls[0]
	p.wg.Go(func() {
		row, err := p.asker.row(ctx, url, s.name)
		if err != nil {
			p.cfg.Log.Debug("a router does not say what it has measured", "site", s.name, "error", err)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		s.state.Row, s.state.Told = row, time.Now()
	})
}

// insist asks several routers of a site at once, each on a connection of its
// own, and takes the first that answers.
func (p *Prober) insist(ctx context.Context, urls []string, wait time.Duration) answer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, voices)
	for i := range voices {
		go func() { answers <- p.asker.ask(ctx, urls[(i+1)%len(urls)], wait, false) }()
	}
	var got answer
	first := true
	for range voices { // all of them, so that none outlives this
		a := <-answers
		if first && !a.missed() {
			got, first = a, false
			cancel()
		} else if first {
			got = a
		}
	}
	return got
}

// note takes what a question brought. final says that there is no doubt any more.
func (p *Prober) note(s *site, got answer, final bool) {
	p.mu.Lock()
	was, now, never := s.state, time.Now(), false
	switch {
	case got.missed():
		s.state.Misses++
		switch {
		case !final || was.Silent():
		case was.Known:
			s.state.SilentSince = now
		case !s.told:
			s.told, never = true, true
		}
	default:
		s.state.Known, s.state.SilentSince, s.state.Blind = true, time.Time{}, got.blind
		if got.took > 0 {
			s.sample(got.took, now)
		}
		if got.url != s.urls[0] {
			// Another router answered; it is the one to ask first from now on.
			s.urls = slices.Clone(s.urls)
			if i := slices.Index(s.urls, got.url); i > 0 {
				s.urls[0], s.urls[i] = s.urls[i], s.urls[0]
			}
		}
	}
	state := s.state
	p.mu.Unlock()
	switch {
	case never:
		p.cfg.Log.Warn("no router of a site can be reached from here; whether it is up is left to consul", "site", s.name, "url", got.url, "error", got.err)
	case state.Silent() && !was.Silent():
		p.cfg.Log.Warn("a site does not answer", "site", s.name, "error", got.err)
	case was.Silent() && !state.Silent():
		p.cfg.Log.Info("a site answers again", "site", s.name, "after", now.Sub(was.SilentSince).Round(time.Millisecond))
	}
	if state.Silent() != was.Silent() || state.Known != was.Known {
		p.cfg.Changed(s.name)
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

// patience is how long an answer may take.
func (s *site) patience() time.Duration {
	if s.n == 0 || s.state.Silent() {
		return mostPatient
	}
	usual := time.Duration((2*s.state.RTTMS + 4*s.state.ErrorMS) * float64(time.Millisecond))
	return min(usual+patience, mostPatient)
}
