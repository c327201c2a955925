// Package probe decides which of many sites a browser should measure next, and
// which site is probably the nearest.
//
// With a dozen sites a page measures them all. With hundreds it cannot, and it
// need not: a few answers say where the person is, and what is known of the
// distances between sites leaves few that could still be nearest. A Model holds
// those distances; its Next turns the answers into the best next probe:
//
//	m, err := probe.New([]string{"eu-west-1", "us-east-1", …}, between)
//	asked := probe.Asked{Entry: "eu-west-1"}
//	for {
//		advice := m.Next(asked)
//		if len(advice.Probe) == 0 {
//			break // advice.Nearest is the result
//		}
//		… measure advice.Probe, add to asked.RTT or asked.Failed …
//	}
//
// # The rule
//
// A probe is worth what it is expected to gain: the expected number of
// milliseconds by which the site's answer is below the nearest answer so far
// (the "expected improvement" of Bayesian optimization). Two models of the
// person say what the answer may be; their results are added by weight:
//
//   - The neighbour: the person is near some site h, with an unknown last mile o,
//     and so sees the Internet as h does: the answer of site i is about
//     rtt(h, i) + o. Every site is a hypothesis, weighted by how well it explains
//     the answers so far, with heavy tails, because no two places see the
//     Internet quite alike. This finds the person's region within two or three
//     answers.
//   - The field: what sites see has a covariance: sites that are near each other
//     see alike. With it, the answers so far correct the guesses for all other
//     sites (a Gaussian process, or kriging), and say how uncertain each still
//     is. This finds what no neighbour knows. The more answers there are, the
//     more it counts.
//
// The rest follows from the numbers. The first probe goes to the site that is
// central to where the person may be. The next ones are spread while the person
// may still be anywhere, and then close in. Probing ends at Asked.Most answers,
// or when the best probe is expected to gain less than PayMS.
//
// # Distances between sites
//
// Consul's coordinates can be used, with their errors. Measured round trips,
// which routers can take at each other's beacons, are better: coordinates smooth
// over the very detours that decide between near sites. docs/PLACEMENT.md has
// the figures of both. A distance may differ by direction, and may be missing.
//
// A Model does not change, and may be used by many goroutines at once. Making
// one costs O(sites³) (a quarter of a second at 400); Next costs tens of
// microseconds at 20 sites, a few hundred at 200.
package probe

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// What is assumed of people and networks. Milliseconds.
const (
	// PayMS is the least that a further probe must be expected to gain.
	PayMS = 0.05
	// Most is the number of answers after which probing ends, by default.
	Most = 8

	lastMile      = 7   // of a person, before anything is measured,
	lastMileError = 10  // and its standard deviation
	sightError    = 4   // the least by which two neighbours' round trips differ,
	sightPart     = 0.1 // and what each millisecond of a round trip adds,
	sightSites    = 10  // more with few sites: neighbours are farther then
	answerError   = 3   // of the least of a person's three samples
	tails         = 4   // degrees of freedom of Student's distribution

	shrink  = 0.3 // the part of the field's covariance that comes from distance alone
	fieldAt = 10  // answers at which only the field would count,
	fieldTo = 0.9 // but for this limit

	// MaxRTT bounds all numbers that come in.
	MaxRTT = 10_000
)

// ErrSites is returned by New for names that are empty or not unique.
var ErrSites = errors.New("make model of sites")

// Between is the round trip from site a to site b, by index, in milliseconds, and
// its error. NaN where it is not known.
type Between func(a, b int) (ms, err float64)

// Model is what is known of the distances between sites.
type Model struct {
	names []string
	index map[string]int
	// rtt holds n×n round trips, from row to column, without gaps; off holds the
	// part of their errors that is more than neighbours differ by.
	rtt, off []float64
	mean     []float64 // round trip to a site, over all sites
	cov      []float64 // n×n covariance of the field
	central  []int     // the sites to begin with, the best first
	sight    float64   // sightPart for as many sites as there are
	scratch  sync.Pool
}

// New makes a model of the sites. Names must be unique.
func New(names []string, between Between) (*Model, error) {
	n := len(names)
	m := &Model{names: append([]string(nil), names...), index: make(map[string]int, n)}
	for i, name := range names {
		if _, twice := m.index[name]; twice || name == "" {
			return nil, fmt.Errorf("%w: the name %q is empty or not unique", ErrSites, name)
		}
		m.index[name] = i
	}
	m.sight = sightPart * (1 + sightSites/float64(max(1, n)))
	m.measure(between)
	m.learn()
	m.central = m.medians(min(n, 16))
	m.scratch.New = func() any { return new(scratch) }
	return m, nil
}

// RTT is the round trip between two sites in the model: as given, or as filled
// in. false for an unknown name.
func (m *Model) RTT(a, b string) (float64, bool) {
	i, ok := m.index[a]
	j, also := m.index[b]
	if !ok || !also {
		return 0, false
	}
	return m.rtt[i*len(m.names)+j], true
}

// measure reads the round trips and fills their gaps.
func (m *Model) measure(between Between) {
	n := len(m.names)
	m.rtt, m.off = make([]float64, n*n), make([]float64, n*n)
	for a := range n {
		for b := range n {
			if a == b {
				continue
			}
			ms, err := between(a, b)
			if !sane(ms) {
				ms, err = math.NaN(), 0
			}
			if !sane(err) {
				err = 0
			}
			// Small errors do not matter, because neighbours differ by more.
			m.rtt[a*n+b], m.off[a*n+b] = ms, max(0, err-ms/2)
		}
	}
	type gap struct {
		at      int
		ms, off float64
	}
	var gaps []gap
	for a := range n {
		for b := range n {
			if known(m.rtt[a*n+b]) {
				continue
			}
			g := gap{at: a*n + b}
			if back := m.rtt[b*n+a]; known(back) {
				g.ms, g.off = back, m.off[b*n+a]
			} else {
				g.ms, g.off = m.detour(a, b)
			}
			gaps = append(gaps, g)
		}
	}
	for _, g := range gaps {
		m.rtt[g.at], m.off[g.at] = g.ms, g.off
	}
}

// detour bounds a missing round trip by the triangles that it is a side of, and
// takes the middle; half the width is its error.
func (m *Model) detour(a, b int) (ms, off float64) {
	n := len(m.names)
	low, high := 0.0, math.Inf(1)
	for k := range n {
		x, y := m.rtt[a*n+k], m.rtt[k*n+b]
		if k != a && k != b && known(x) && known(y) {
			low, high = max(low, math.Abs(x-y)), min(high, x+y)
		}
	}
	if math.IsInf(high, 1) {
		return unknownRTT, unknownRTT
	}
	low = min(low, high)
	return (low + high) / 2, (high - low) / 2
}

// unknownRTT stands for a round trip of which nothing is known.
const unknownRTT = 150

func known(ms float64) bool { return !math.IsNaN(ms) }

// sane is false for values that cannot be a time, and for NaN.
func sane(ms float64) bool { return ms >= 0 && ms <= MaxRTT }

// learn computes mean and covariance of what sites see. The covariance of n
// sites that see n sites is poor, so a part of it is replaced by one that depends
// on the distance alone and is fitted to it.
func (m *Model) learn() {
	n := len(m.names)
	m.mean, m.cov = make([]float64, n), make([]float64, n*n)
	if n == 0 {
		return
	}
	for a := range n {
		for b := range n {
			m.mean[b] += m.rtt[a*n+b] / float64(n)
		}
	}
	seen := make([]float64, n*n) // transposed, so that sums read memory in order
	for a := range n {
		for b := range n {
			seen[b*n+a] = m.rtt[a*n+b] - m.mean[b]
		}
	}
	variance := 0.0
	for a := range n {
		for b := range a + 1 {
			sum := 0.0
			x, y := seen[a*n:a*n+n], seen[b*n:b*n+n]
			for k := range x {
				sum += x[k] * y[k]
			}
			m.cov[a*n+b] = sum / float64(max(1, n-1))
			m.cov[b*n+a] = m.cov[a*n+b]
		}
		variance += m.cov[a*n+a] / float64(n)
	}
	variance = max(variance, 1)
	reach, nugget := m.fit(variance)
	for a := range n {
		for b := range n {
			near := 1.0
			if a != b {
				near = (1 - nugget) * math.Exp(-(m.rtt[a*n+b]+m.rtt[b*n+a])/2/reach)
			}
			m.cov[a*n+b] = (1-shrink)*m.cov[a*n+b] + shrink*variance*near + lastMileError*lastMileError
		}
	}
}

// fit finds how fast covariance falls with distance: reach is the distance at
// which it has fallen to 1/e, nugget the part that falls at once. It takes the
// least absolute differences over a grid; a finer grid changes nothing.
func (m *Model) fit(variance float64) (reach, nugget float64) {
	n := len(m.names)
	type pair struct{ distance, differ float64 }
	pairs := make([]pair, 0, n*(n-1)/2)
	for a := range n {
		for b := range a {
			differ := m.cov[a*n+a] + m.cov[b*n+b] - 2*m.cov[a*n+b]
			pairs = append(pairs, pair{(m.rtt[a*n+b] + m.rtt[b*n+a]) / 2, differ})
		}
	}
	const enough = 4000 // pairs: each is compared with the whole grid
	step := 1 + len(pairs)/enough
	least := math.Inf(1)
	reach = 50
	for _, r := range [...]float64{5, 10, 20, 40, 60, 80, 120, 160, 240, 320, 500, 1000} {
		for _, nu := range [...]float64{0, .02, .05, .1, .2, .3} {
			miss := 0.0
			for i := 0; i < len(pairs); i += step {
				miss += math.Abs(pairs[i].differ - 2*variance*((1-nu)*(1-math.Exp(-pairs[i].distance/r))+nu))
			}
			if miss < least {
				least, reach, nugget = miss, r, nu
			}
		}
	}
	return reach, nugget
}

// medians chooses sites so that every place is near one of the first few: each
// is the one that, with those before it, leaves the least sum of distances.
func (m *Model) medians(count int) []int {
	n := len(m.names)
	near := make([]float64, n)
	for i := range near {
		near[i] = MaxRTT
	}
	chosen := make([]bool, n)
	var out []int
	for range count {
		best, least := -1, math.Inf(1)
		for c := range n {
			if chosen[c] {
				continue
			}
			sum := 0.0
			for i := range n {
				sum += min(near[i], m.rtt[i*n+c])
			}
			if sum < least {
				best, least = c, sum
			}
		}
		chosen[best] = true
		out = append(out, best)
		for i := range n {
			near[i] = min(near[i], m.rtt[i*n+best])
		}
	}
	return out
}
