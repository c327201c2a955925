package main

import (
	"context"
	"encoding/json"
	"slices"
)

// tally is what a method did for all people of all seeds.
type tally struct {
	data   string
	method string
	labels map[string]any
	sites  int
	regret []float64
	ms     []float64
	trips  []float64 // ms in round trips to the nearest site
	probes int
}

func (t *tally) perfect() float64 {
	n := 0
	for _, r := range t.regret {
		if r <= perfectMS {
			n++
		}
	}
	return float64(n) / float64(max(1, len(t.regret)))
}

// asked is how many sites a person measured on average.
func (t *tally) asked() float64 { return float64(t.probes) / float64(max(1, len(t.regret))) }

func (t *tally) quantile(q float64) float64 {
	if len(t.regret) == 0 {
		return 0
	}
	return quantile(slices.Sorted(slices.Values(t.regret)), q)
}

// leastFolk is with fewer people than this no split is tried.
const leastFolk = 10

// regrets tries every method at one number of sites.
func (b *bench) regrets(ctx context.Context, m *matrix, sites int) ([]*tally, error) {
	var out []*tally
	byKey := map[string]*tally{}
	seeds := b.seeds(sites)
	for seed := range seeds {
		rnd := seeded(b.seed, uint64(seed), uint64(sites))
		w := split(m, sites, b.people, rnd)
		w.measured()
		coords := w.coordinates(rnd)
		methods := w.baselines(coords)
		methods = append(methods, w.adaptives()...)
		if sites <= maxRace {
			methods = append(methods, w.races()...)
		}
		if sites <= maxMemory {
			methods = append(methods, w.memories()...)
		}
		for k, method := range methods {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			name, err := json.Marshal(method.labels)
			if err != nil {
				return nil, err
			}
			key := method.name + string(name)
			t := byKey[key]
			if t == nil {
				t = &tally{data: m.name, method: method.name, labels: method.labels, sites: sites}
				byKey[key] = t
				out = append(out, t)
			}
			folk := w.folk
			if method.name == "memory" {
				folk = folk[:min(len(folk), b.people/3+1)] // each stands for dozens
			}
			for u, place := range folk {
				// Every method meets the same people; its own chance comes after.
				p, ok := w.person(place, seeded(b.seed, uint64(seed), uint64(u), 1))
				if !ok {
					continue
				}
				p.rnd = seeded(b.seed, uint64(seed), uint64(u), uint64(k), 2)
				got := method.choose(p)
				t.regret = append(t.regret, p.regret(got.site))
				t.probes += got.probes
				if got.probes > 0 {
					t.ms = append(t.ms, got.ms)
					t.trips = append(t.trips, got.ms/p.best)
				}
			}
		}
	}
	for _, t := range out {
		l := labels("data", m.name, "method", t.method, "sites", sites, "seeds", seeds)
		r := labels("perfect", round(t.perfect()), "asked", round(t.asked()))
		if err := b.report.line("regret", "ms", t.regret, l, t.labels, r); err != nil {
			return nil, err
		}
		if err := b.report.line("decision_time", "ms", t.ms, l, t.labels); err != nil {
			return nil, err
		}
		if err := b.report.line("decision_time", "rtt", t.trips, l, t.labels); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// From how many sites on a page does not race any more, and memory is not tried
// (each person is dozens).
const (
	maxRace   = 24
	maxMemory = 60
)

// sizes are the numbers of sites that a matrix has places for.
func (b *bench) sizesOf(m *matrix) []int {
	return slices.DeleteFunc(slices.Clone(b.sizes), func(n int) bool { return n+leastFolk > len(m.rtt) })
}

// seeds is how many splits are tried: fewer of many sites, which cost more.
func (b *bench) seeds(sites int) int { return max(1, b.splits*20/max(20, sites)) }
