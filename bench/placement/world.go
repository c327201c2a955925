package main

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/nearcast/nearcast/router/placement/probe"
)

// What a person's own line adds to a matrix of machines in data centres.
const (
	lastMileLeast = 2 // ms, of every person,
	lastMileMean  = 6 // and on average this much more, exponentially
	jitterMean    = 5 // ms, exponential, of every round trip on its own
	samples       = 3 // a site's number is the least of these
	perfectMS     = 0.5
)

// world is one random split of a matrix into sites and people.
type world struct {
	data  *matrix
	sites []int // places of the matrix
	folk  []int
	names []string // of the sites
	// known is the way between sites as the routers know it, by index of site:
	// measured at each other's beacons, or coordinates.
	known map[string]*knowledge
}

// knowledge is what routers know of the way between sites, and what follows.
type knowledge struct {
	between probe.Between
	model   *probe.Model
}

// split draws a world. People are at most count; the sites' places are no people's.
func split(m *matrix, sites, count int, rnd *rand.Rand) *world {
	order := rnd.Perm(len(m.rtt))
	w := &world{data: m, sites: order[:sites], folk: order[sites:], known: map[string]*knowledge{}}
	if len(w.folk) > count {
		w.folk = w.folk[:count]
	}
	for i := range sites {
		w.names = append(w.names, fmt.Sprintf("site-%03d", i))
	}
	return w
}

// person is one person: their true round trips, and the router that they reached.
type person struct {
	world *world
	rnd   *rand.Rand
	true  []float64 // round trip to each site, last mile included; Inf where there is no route
	best  float64
	mile  float64
	entry int // the site whose router they reached
}

// person draws the person at one of the matrix's places; false where nothing is
// known of the way from there to any site.
func (w *world) person(place int, rnd *rand.Rand) (*person, bool) {
	p := &person{world: w, rnd: rnd, true: make([]float64, len(w.sites)), best: math.Inf(1)}
	p.mile = lastMileLeast + rnd.ExpFloat64()*lastMileMean
	for i, s := range w.sites {
		p.true[i] = w.data.between(place, s) + p.mile
		if math.IsNaN(p.true[i]) {
			p.true[i] = math.Inf(1)
		}
		p.best = min(p.best, p.true[i])
	}
	if math.IsInf(p.best, 1) {
		return nil, false
	}
	for p.entry = -1; p.entry < 0 || math.IsInf(p.true[p.entry], 1); { // a router that they can reach
		p.entry = rnd.IntN(len(w.sites))
	}
	return p, true
}

// trip is one round trip to a site as it is measured; Inf where it never ends.
func (p *person) trip(site int) float64 { return p.true[site] + p.rnd.ExpFloat64()*jitterMean }

// probe is what a site measures; false where it does not answer.
func (p *person) probe(site int) (float64, bool) {
	least := math.Inf(1)
	for range samples {
		least = min(least, p.trip(site))
	}
	return least, !math.IsInf(least, 1)
}

// regret is what a choice costs over the best there is. A site that there is no
// way to costs as much as the farthest.
func (p *person) regret(site int) float64 {
	if !math.IsInf(p.true[site], 1) {
		return p.true[site] - p.best
	}
	far := 0.0
	for _, t := range p.true {
		if !math.IsInf(t, 1) {
			far = max(far, t-p.best)
		}
	}
	return far
}
