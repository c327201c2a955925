package main

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/nearcast/nearcast/router/placement/prefix"
	"github.com/nearcast/nearcast/router/placement/probe"
)

// memory is adaptive probing by people whose network has been seen before. The
// data have machines, not networks, so it is assumed that people of one network
// have the round trips of one machine, apart from alike: each person's round trip
// to each site is the machine's, times 1 + alike × a standard normal of its own,
// plus the person's own last mile. Earlier people probed in the same way, with
// the memory as it was then. After their decision they measured `after` more sites
// in the background, at random among those that nobody had reported.
type memory struct {
	most, after int
	people      int
	alike       float64
	liars       float64 // the part of the people before who claim nonsense
}

var memories = []memory{
	{most: 4, people: 3, alike: 0.05},
	{most: 4, people: 10, alike: 0.05},
	{most: 4, people: 30, alike: 0.05},
	{most: 4, people: 30, alike: 0.20},
	{most: 4, people: 3, alike: 0.05, after: 4},
	{most: 4, people: 10, alike: 0.05, after: 4},
	{most: 4, people: 30, alike: 0, after: 4},
	{most: 4, people: 30, alike: 0.05, after: 4},
	{most: 4, people: 30, alike: 0.20, after: 4},
	{most: 4, people: 30, alike: 0.05, after: 4, liars: 0.2},
	{most: 8, people: 10, alike: 0.05},
}

func (w *world) memories() []method {
	var out []method
	for _, m := range memories {
		l := labels("probes", m.most, "matrix", "measured", "people", m.people, "alike", m.alike, "after", m.after, "liars", m.liars)
		out = append(out, method{"memory", l, func(p *person) outcome { return m.choose(w, p) }})
	}
	return out
}

func (m memory) choose(w *world, p *person) outcome {
	model := w.known["measured"].model
	store := prefix.New(prefix.Config{Between: func(a, b string) (float64, float64) {
		ms, ok := model.RTT(a, b)
		if !ok {
			return math.NaN(), 0
		}
		return ms, 0
	}})
	now := time.Unix(0, 0)
	machine := append([]float64(nil), p.true...)
	for k := range m.people {
		from := netip.AddrFrom4([4]byte{198, 18, 0, byte(k + 1)})
		if p.rnd.Float64() < m.liars {
			// A liar reports three random sites as very near. A report that
			// contradicts itself must be refused: that is tested here.
			lie := map[string]float64{}
			for _, i := range p.rnd.Perm(len(w.sites))[:3] {
				lie[w.names[i]] = p.rnd.Float64() * 5
			}
			_ = store.Add(now, from, lie)
			continue
		}
		before := p.like(machine, m.alike)
		asked := probe.Asked{Entry: w.names[p.entry], Hints: store.Hints(now, from)}
		oneByOne(m.most).ask(before, model, &asked)
		before.explore(&asked, m.after)
		_ = store.Add(now, from, asked.RTT)
	}
	me := p.like(machine, m.alike)
	asked := probe.Asked{
		Entry: w.names[p.entry],
		Hints: store.Hints(now, netip.AddrFrom4([4]byte{198, 18, 0, 250})),
	}
	out := oneByOne(m.most).ask(me, model, &asked)
	p.true, p.best = me.true, me.best // regret counts by the person's own round trips
	return out
}

// explore measures so many sites more, of those that the memory says nothing of.
func (p *person) explore(asked *probe.Asked, count int) {
	for _, i := range p.rnd.Perm(len(p.true)) {
		name := p.world.names[i]
		_, measured := asked.RTT[name]
		hinted := slices.ContainsFunc(asked.Hints, func(h probe.Hint) bool { return h.Site == name })
		if count == 0 {
			return
		}
		if measured || hinted {
			continue
		}
		count--
		if rtt, ok := p.probe(i); ok {
			asked.RTT[name] = rtt
		}
	}
}

// like is a person of the same network.
func (p *person) like(machine []float64, alike float64) *person {
	q := &person{world: p.world, rnd: p.rnd, entry: p.entry, best: math.Inf(1), true: make([]float64, len(machine))}
	mile := lastMileLeast + p.rnd.ExpFloat64()*lastMileMean
	for i, ms := range machine {
		q.true[i] = max(0, (ms-p.mile)*(1+alike*p.rnd.NormFloat64())) + mile
		q.best = min(q.best, q.true[i])
	}
	return q
}
