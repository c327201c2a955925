// Package probe decides which of many sites a person should measure next, and
// what the others would have measured.
//
// With a dozen sites a page races them all. With hundreds it cannot, and need
// not: what a few sites say of where the person is, and what is known of the way
// between sites, leaves few that could still be nearest. Model holds the latter,
// and its Next turns the former into the best next question:
//
//	m, err := probe.New([]string{"eu-west-1", "us-east-1", …}, between)
//	asked := probe.Asked{Entry: "eu-west-1"}
//	for {
//		advice := m.Next(asked)
//		if len(advice.Probe) == 0 {
//			break // advice.Nearest it is
//		}
//		… measure advice.Probe, add to asked.RTT or asked.Failed …
//	}
//
// # The rule
//
// A question is worth what it may gain: the expected amount, in milliseconds, by
// which the site's answer is below the nearest answer so far (the "expected
// improvement" of Bayesian optimization). Two views of the person say what the
// answer may be, and their verdicts are added by weight:
//
//   - The neighbour: she sits near some site h, at an unknown last mile o, and
//     so sees the world as h does: the answer of site i is about rtt(h, i) + o.
//     Every site is a hypothesis, weighed by how well it explains the answers so
//     far, with heavy tails, since no two places see the world quite alike. This
//     finds her region within two or three answers.
//   - The field: what sites see, one beside the other, has a covariance: sites
//     that are near each other are seen alike. Given it, the answers so far
//     correct the guess of all others (a Gaussian process, or kriging), and say
//     how uncertain each still is. This finds what no neighbour knows: it counts
//     the more, the more answers there are.
//
// Everything else follows from the numbers: the first question is the site that
// is central to where she may be, the next ones are spread where she may still
// be anywhere, and close in where she is not. Questions end at Asked.Most
// answers, or when the best one is expected to gain less than PayMS.
//
// # What is known of the way between sites
//
// Consul's coordinates serve, with their errors; measured round trips, which
// routers can take at each other's beacons, serve better: coordinates smooth
// over just the detours that the choice between near sites turns on. The
// figures of both are in docs/PLACEMENT.md. The way may differ by direction, and
// may be missing.
//
// A Model does not change, and any number of goroutines may use it. Making one
// costs O(sites³) (a quarter of a second at 400); Next costs tens of
// microseconds at 20 sites, a few hundred at 200.
package probe

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// What is taken to be true of people and networks. Milliseconds.
const (
	// PayMS is what a further measurement must be expected to gain.
	PayMS = 0.05
	// Most is how many answers are asked for, where the request does not say.
	Most = 8

	lastMile      = 7   // of a person, as far as anybody knows,
	lastMileError = 10  // and by how much it may differ
	sightError    = 4   // by how much two neighbours' round trips differ at least,
	sightPart     = 0.1 // and for each of a round trip's milliseconds, the more
	sightSites    = 10  // so the fewer sites there are: neighbours are farther then
	answerError   = 3   // of a person's minimum of three
	tails         = 4   // degrees of freedom of Student's distribution

	shrink  = 0.3 // how much of the field's covariance is that of distance alone
	fieldAt = 10  // answers until the field's word is all there is,
	fieldTo = 0.9 // nearly

	// MaxRTT bounds any number that comes in.
	MaxRTT = 10_000
)

// ErrSites is returned by New for sites that no model can be made of.
var ErrSites = errors.New("no model of these sites")

// Between is the round trip from site a to site b, by index, in milliseconds, and
// how far it may be off. Not a number where nobody knows.
type Between func(a, b int) (ms, err float64)

// Model is what is known of the way between sites.
type Model struct {
	names []string
	index map[string]int
	// rtt holds n×n round trips, from row to column, without gaps; off how far
	// they may be off beyond what neighbours differ by.
	rtt, off []float64
	mean     []float64 // what a site is seen at, over all sites
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
			return nil, fmt.Errorf("%w: the name %q is empty or given twice", ErrSites, name)
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

// Sites is how many sites the model has.
func (m *Model) Sites() int { return len(m.names) }

// RTT is the round trip between two sites as the model has it: as given, or as
// filled in. false for a name it does not know.
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
			// Neighbours differ more than coordinates err, so what counts is an
			// error that leaves no neighbourhood.
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

// detour bounds a missing round trip by the triangles it is a side of, and takes
// the middle; half the width is how far that may be off.
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

// unknownRTT stands for a round trip of which nothing at all is known.
const unknownRTT = 150

func known(ms float64) bool { return !math.IsNaN(ms) }

// sane is false for what cannot be a time, NaN included.
func sane(ms float64) bool { return ms >= 0 && ms <= MaxRTT }

// learn finds mean and covariance of what sites see. The covariance from n
// sites' views of n sites is poor, so a part of it is replaced by one that
// depends on the distance alone, fitted to it.
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
	seen := make([]float64, n*n) // transposed, so that sums run along memory
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

// fit finds how fast covariance falls with distance: by which distance to 1/e,
// and which part of it at once. Least absolute differences over a grid; what
// comes of it is not sensitive to more.
func (m *Model) fit(variance float64) (reach, nugget float64) {
	n := len(m.names)
	type pair struct{ way, differ float64 }
	pairs := make([]pair, 0, n*(n-1)/2)
	for a := range n {
		for b := range a {
			differ := m.cov[a*n+a] + m.cov[b*n+b] - 2*m.cov[a*n+b]
			pairs = append(pairs, pair{(m.rtt[a*n+b] + m.rtt[b*n+a]) / 2, differ})
		}
	}
	const enough = 4000 // pairs: the grid below is run over each
	step := 1 + len(pairs)/enough
	least := math.Inf(1)
	reach = 50
	for _, r := range [...]float64{5, 10, 20, 40, 60, 80, 120, 160, 240, 320, 500, 1000} {
		for _, nu := range [...]float64{0, .02, .05, .1, .2, .3} {
			miss := 0.0
			for i := 0; i < len(pairs); i += step {
				miss += math.Abs(pairs[i].differ - 2*variance*((1-nu)*(1-math.Exp(-pairs[i].way/r))+nu))
			}
			if miss < least {
				least, reach, nugget = miss, r, nu
			}
		}
	}
	return reach, nugget
}

// medians chooses sites so that everywhere is near one of the first few: each is
// the one that, with those before it, leaves the least way to go.
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
