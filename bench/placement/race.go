package main

import (
	"cmp"
	"math"
	"slices"
)

// The page's race: class Race of web/assets/js/race.js in Go. Both sides run the
// courses of web/test/race.json (TestCourses here, race.test.mjs there), and
// must decide each at the same moment for the same site.

// What race.js has under these names.
const (
	enough     = 3 // SAMPLES
	deadlineMS = 2500
	slack      = 1.2
	slackMS    = 2
)

// news is what the page is told of one site at one moment. It is also an item of
// a course.
type news struct {
	At     float64   `json:"at"`
	Site   int       `json:"site"`
	Trips  []float64 `json:"trips,omitempty"`  // round trips that were seen
	Opened float64   `json:"opened,omitempty"` // when the connection was begun, if it is new
	Failed bool      `json:"failed,omitempty"` // and nothing else
}

// race is what the page knows. Sites are numbered.
type race struct {
	started float64
	sites   []racer
}

// racer is what the page knows of a site.
type racer struct {
	trips                float64 // of a new connection's first answer, at least
	samples              int
	best                 float64
	began, opened, since float64
	warm, failed         bool
}

// newRace begins a race; trips are, by site, what a new connection takes.
func newRace(trips []int, now float64) *race {
	r := &race{started: now}
	for _, n := range trips {
		r.sites = append(r.sites, racer{trips: float64(n), best: math.Inf(1), began: now, opened: now, since: now})
	}
	return r
}

// tell has the page learn something.
func (r *race) tell(n *news) {
	s := &r.sites[n.Site]
	if n.Failed {
		s.failed = true
		return
	}
	if n.Opened > s.began && s.opened == s.began {
		s.opened = n.Opened
	}
	s.warm = s.warm || len(n.Trips) == 0
	s.samples += len(n.Trips)
	for _, ms := range n.Trips {
		s.best = min(s.best, ms)
	}
	s.since = n.At
}

// leader is the nearest site so far; -1 before the first answer.
func (r *race) leader() int {
	at, best := -1, math.Inf(1)
	for i := range r.sites {
		if s := &r.sites[i]; s.samples > 0 && s.best < best {
			at, best = i, s.best
		}
	}
	return at
}

// decidedIn is 0 when the race is decided, else after how many ms without any
// news it would be.
func (r *race) decidedIn(now float64) float64 {
	left := max(0, r.started+deadlineMS-now)
	leader, open := r.leader(), false
	for i := range r.sites {
		open = open || !r.sites[i].failed
	}
	if !open {
		return 0
	}
	if leader < 0 {
		return left
	}
	leading, wait := &r.sites[leader], 0.0
	if leading.samples < enough && !leading.failed {
		wait = leading.since + 3*leading.best + 20 - now
	}
	heldUp := leading.opened - leading.began
	for i := range r.sites {
		switch s := &r.sites[i]; {
		case i == leader || s.failed || s.samples >= enough:
		case s.samples == 0 && s.warm:
			wait = max(wait, s.since+leading.best*slack+slackMS-now)
		case s.samples == 0:
			wait = max(wait, max(s.opened, s.began+heldUp)+leading.best*s.trips*slack+slackMS-now)
		case s.best < leading.best*1.2+2:
			if due := s.since + s.best*1.1 + 1 - now; due <= leading.best/2+1 {
				wait = max(wait, due)
			}
		}
	}
	return min(max(0, wait), left)
}

// run tells the news, in order, until the race is decided, and says when and
// for whom: -1 for nobody.
func (r *race) run(all []news) (leader int, at float64) {
	for i := range all {
		if wait := r.decidedIn(at); at+wait < all[i].At {
			return r.leader(), at + wait
		}
		at = all[i].At
		r.tell(&all[i])
	}
	return r.leader(), at + r.decidedIn(at)
}

// path is how a beacon is reached. A browser has two requests under way to each
// site at once, and each gets as many samples as it took round trips.
type path string

const (
	overHTTP  path = "http"  // a connection each: to open it, to ask
	overHTTPS path = "https" // the same, and the handshake of TLS 1.3
	overHTTP2 path = "http2" // over TLS; both ask on the connection that is open first
)

// trips are those of a new connection's first answer.
func (w path) trips() int {
	if w == overHTTP {
		return 2
	}
	return 3
}

// browser is what a browser adds to the network, in ms: the page pays it, and
// the unit of "× the nearest's round trip" does not have it.
type browser struct {
	opens  float64 // from asking to the first packet
	shakes float64 // computing a TLS handshake; the page sees it as part of that trip
	tells  float64 // from the answer to the script that waits for it
}

// chromium is as seen on a machine with 2 cores and other work.
var chromium = browser{opens: 6, shakes: 6, tells: 4}

// answers are the news that one site gives.
func (p *person) answers(site int, way path, in browser) []news {
	if math.IsInf(p.true[site], 1) {
		return nil
	}
	lane := func() news {
		n := news{At: in.opens + in.tells, Site: site, Opened: in.opens}
		for k := range way.trips() {
			ms := p.trip(site)
			if k == 1 && way != overHTTP {
				ms += in.shakes
			}
			n.Trips = append(n.Trips, ms)
			n.At += ms
		}
		return n
	}
	a, b := lane(), lane()
	if b.At < a.At {
		a, b = b, a
	}
	switch way {
	case overHTTP:
		// Two samples are not enough: the first goes on before the second is there.
		ms := p.trip(site)
		return []news{a, b, {At: a.At + ms + in.tells, Site: site, Trips: []float64{ms}}}
	case overHTTP2:
		// Whichever is open first has both requests.
		open := func(n news) float64 { return n.Trips[0] + n.Trips[1] }
		if open(b) < open(a) {
			a, b = b, a
		}
		other := news{At: in.opens + in.tells + open(a) + b.Trips[2], Site: site, Trips: b.Trips[2:]}
		if other.At >= a.At {
			return []news{a, other}
		}
		// One sample is not enough: it goes on.
		ms := p.trip(site)
		return []news{a, other, {At: other.At + ms + in.tells, Site: site, Trips: []float64{ms}}}
	}
	return []news{a, b}
}

// race races all sites. It returns the leader, -1 if there is none, and when it
// was decided.
func (p *person) race(way path, in browser) (leader int, at float64) {
	var all []news
	trips := make([]int, len(p.true))
	for i := range p.true {
		all = append(all, p.answers(i, way, in)...)
		trips[i] = way.trips()
	}
	slices.SortStableFunc(all, func(a, b news) int { return cmp.Compare(a.At, b.At) })
	return newRace(trips, 0).run(all)
}
