package main

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/hashicorp/serf/coordinate"

	"github.com/nearcast/nearcast/router/placement/probe"
)

// outcome is what a method did for one person.
type outcome struct {
	site   int     // chosen
	probes int     // sites measured, or tried
	ms     float64 // until the decision
}

// method is one way to choose a site.
type method struct {
	name   string
	labels map[string]any
	choose func(p *person) outcome
}

// baselines are what the methods of interest are measured against.
func (w *world) baselines(coords []*coordinate.Coordinate) []method {
	n := len(w.sites)
	beacons := func(p *person, k int) (sites []int, rtt []float64, ms float64) {
		for _, i := range p.rnd.Perm(n)[:min(k, n)] {
			v, ok := p.probe(i)
			ms = max(ms, p.takes(i))
			if ok {
				sites, rtt = append(sites, i), append(rtt, v)
			}
		}
		return sites, rtt, ms
	}
	out := []method{
		{"random", labels("probes", 0), func(p *person) outcome { return outcome{site: p.rnd.IntN(n)} }},
		{"entry", labels("probes", 0, "entry", "dns"), func(p *person) outcome { return outcome{site: p.dns()} }},
		{"entry", labels("probes", 0, "entry", "random"), func(p *person) outcome { return outcome{site: p.entry} }},
		{"beacon", labels("probes", 4), func(p *person) outcome {
			sites, rtt, ms := beacons(p, 4)
			return outcome{least(sites, rtt, p), 4, ms}
		}},
		{"all", labels("probes", n), func(p *person) outcome {
			sites, rtt, ms := beacons(p, n)
			return outcome{least(sites, rtt, p), n, ms}
		}},
	}
	for _, k := range []int{4, 8} {
		out = append(out, method{"coordinates", labels("probes", k), func(p *person) outcome {
			sites, rtt, ms := beacons(p, k)
			if len(sites) == 0 {
				return outcome{p.entry, k, ms}
			}
			me := fit(coords, w.names, sites, rtt, p.rnd)
			best := 0
			for i := range coords {
				if me.DistanceTo(coords[i]) < me.DistanceTo(coords[best]) {
					best = i
				}
			}
			return outcome{best, k, ms}
		}})
	}
	return out
}

// races are the page's race, over plain connections and with TLS.
func (w *world) races() []method {
	one := func(way path, in browser, name string) method {
		l := labels("probes", len(w.sites), "path", string(way), "browser", name)
		return method{"race", l, func(p *person) outcome {
			leader, at := p.race(way, in)
			if leader < 0 {
				leader = p.entry
			}
			return outcome{leader, len(w.sites), at}
		}}
	}
	var out []method
	for _, way := range []path{overHTTP, overHTTPS, overHTTP2} {
		out = append(out, one(way, chromium, "chromium"), one(way, browser{}, "none"))
	}
	return out
}

// adaptives are those that ask the router which site to measure next.
func (w *world) adaptives() []method {
	var out []method
	for _, most := range []int{4, 6, 8} {
		for _, known := range []string{"measured", "vivaldi"} {
			out = append(out, w.adaptive(known, most, 1, 1, "random", true), w.adaptive(known, most, 3, 2, "dns", false))
		}
		out = append(out, w.adaptive("measured", most, 3, 2, "dns", true), w.adaptive("measured", most, 4, 4, "dns", false))
	}
	return out
}

// adaptive asks so many sites first at once, then so many at a time, with what
// is known of the way between sites, and waits for all of them or as the page
// does. Only an entry by DNS says where they are.
func (w *world) adaptive(known string, most, first, next int, entry string, all bool) method {
	model := w.known[known].model
	s := page
	s.most, s.first, s.next, s.all = most, first, next, all
	waits := "race"
	if all {
		waits = "all"
	}
	l := labels("probes", most, "matrix", known, "at_once", s.atOnce(), "entry", entry, "waits", waits)
	return method{"adaptive", l, func(p *person) outcome {
		asked := probe.Asked{EntryNear: entry == "dns"}
		if asked.EntryNear {
			p.entry = p.dns()
		}
		asked.Entry = w.names[p.entry]
		return s.ask(p, model, &asked)
	}}
}

// takes is how long it takes to measure a site, to the third sample.
func (p *person) takes(site int) float64 {
	ms := 0.0
	for range samples {
		ms += p.trip(site)
	}
	return min(ms, roundMS)
}

// dns is the site to which a resolver sends the person that knows roughly where
// they are: the nearest of four random sites.
func (p *person) dns() int {
	best := p.entry
	for k, i := range p.rnd.Perm(len(p.true))[:min(4, len(p.true))] {
		if k == 0 && !math.IsInf(p.true[i], 1) || p.true[i] < p.true[best] {
			best = i
		}
	}
	return best
}

func (w *world) site(name string, otherwise int) int {
	if i, ok := slices.BinarySearch(w.names, name); ok {
		return i
	}
	return otherwise
}

// least is the site with the least answer; the entry where none answered.
func least(sites []int, rtt []float64, p *person) int {
	best, at := math.Inf(1), p.entry
	for k, i := range sites {
		if rtt[k] < best {
			best, at = rtt[k], i
		}
	}
	return at
}

func labels(pairs ...any) map[string]any {
	out := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i].(string)] = pairs[i+1]
	}
	return out
}

// seeded is a source of chance that depends on all of the numbers given, and on
// nothing else: adding a method changes no other's figures.
func seeded(numbers ...uint64) *rand.Rand {
	mix := uint64(0x9e3779b97f4a7c15)
	for _, n := range numbers {
		mix = (mix ^ n) * 0xbf58476d1ce4e5b9
		mix ^= mix >> 29
	}
	return rand.New(rand.NewPCG(mix, ^mix))
}
