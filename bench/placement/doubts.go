package main

import (
	"context"

	"github.com/nearcast/nearcast/router/placement"
)

// takeDoubts measures how often a person's measurements are doubted: of honest
// people, whose routes are indirect, and of liars. Each has measured all of 20 sites.
func (b *bench) takeDoubts(ctx context.Context) error {
	const sites = 20
	for _, m := range b.data {
		if sites+leastFolk > len(m.rtt) {
			continue
		}
		type count struct{ doubted, people int }
		tally := map[[2]string]*count{}
		for seed := range max(1, b.splits/3) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			rnd := seeded(b.seed, uint64(seed), sites, 77)
			w := split(m, sites, b.people, rnd)
			w.measured()
			w.coordinates(rnd)
			for u, place := range w.folk {
				p, ok := w.person(place, seeded(b.seed, uint64(seed), uint64(u), 78))
				if !ok {
					continue
				}
				for name, claims := range p.claims() {
					for how, known := range w.known {
						c := tally[[2]string{name, how}]
						if c == nil {
							c = &count{}
							tally[[2]string{name, how}] = c
						}
						c.people++
						r := placement.Rank(placement.Request{RTT: claims, Between: known.between}, w.asSites(), func() float64 { return 0 })
						for _, cand := range r.Candidates {
							if cand.Doubt {
								c.doubted++
								break
							}
						}
					}
				}
			}
		}
		for _, who := range []string{"honest", "zero to all", "zero to one"} {
			for _, how := range []string{"measured", "vivaldi"} {
				if c := tally[[2]string{who, how}]; c != nil {
					l := labels("data", m.name, "sites", sites, "matrix", how, "claims", who)
					if err := b.report.value("doubted", "share", float64(c.doubted)/float64(c.people), l, labels("n", c.people)); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// claims are the measurements that this person may report.
func (p *person) claims() map[string]map[string]float64 {
	honest, all, one := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for i, name := range p.world.names {
		if ms, ok := p.probe(i); ok {
			honest[name], one[name] = ms, ms
		}
		all[name] = 0
	}
	one[p.world.names[p.rnd.IntN(len(p.world.names))]] = 0
	return map[string]map[string]float64{"honest": honest, "zero to all": all, "zero to one": one}
}

func (w *world) asSites() []placement.Site {
	out := make([]placement.Site, len(w.names))
	for i, name := range w.names {
		out[i] = placement.Site{Name: name, Healthy: true, Present: true, Idle: 1, Max: 10}
	}
	return out
}
