package main

import (
	"cmp"
	"math"
	"slices"
)

// What the page (web/assets/js/race.js) does, in numbers.
const (
	deadlineMS   = 2500 // of a race in which nobody answers
	patienceMS   = 1000 // for a site that was asked on advice
	openingTrips = 2    // a new connection's first answer takes so many at least
)

// news is what the page learns at one moment from one site.
type news struct {
	at   float64
	site int
	rtt  [samples]float64
	n    int
}

// answers are the news that one site gives, as a browser sees them. Opening the
// connection is a round trip like the request. Without TLS the first answer
// brings two samples and the second the third; with TLS 1.3 the first answer
// brings all three.
func (p *person) answers(site int, tls bool) []news {
	if math.IsInf(p.true[site], 1) {
		return nil
	}
	a, b, c := p.trip(site), p.trip(site), p.trip(site)
	if tls {
		return []news{{at: a + b + c, site: site, rtt: [samples]float64{a, b, c}, n: 3}}
	}
	return []news{
		{at: a + b, site: site, rtt: [samples]float64{a, b}, n: 2},
		{at: a + b + c, site: site, rtt: [samples]float64{c}, n: 1},
	}
}

// racer is what the page knows of a site.
type racer struct {
	samples int
	best    float64
	since   float64
}

// race is the page's race: all sites at once, decided by the page's rule. It
// returns the leader, when it was decided, and what had been measured by then.
func (p *person) race(tls bool) (leader int, at float64, measured map[int]float64) {
	var all []news
	for i := range p.true {
		all = append(all, p.answers(i, tls)...)
	}
	slices.SortFunc(all, func(a, b news) int { return cmp.Compare(a.at, b.at) })
	field := make([]racer, len(p.true))
	for i := range field {
		field[i].best = math.Inf(1)
	}
	leader, at = -1, deadlineMS
	for i, n := range all {
		if n.at >= deadlineMS {
			break
		}
		r := &field[n.site]
		for _, rtt := range n.rtt[:n.n] {
			r.best = min(r.best, rtt)
		}
		r.samples += n.n
		r.since = n.at
		if leader < 0 || r.best < field[leader].best {
			leader = n.site
		}
		next := float64(deadlineMS)
		if i+1 < len(all) {
			next = min(next, all[i+1].at)
		}
		if decided := n.at + decidedIn(field, leader, n.at); decided <= next {
			at = decided
			break
		}
	}
	measured = map[int]float64{}
	for i, r := range field {
		if r.samples > 0 {
			measured[i] = r.best
		}
	}
	return leader, min(at, deadlineMS), measured
}

// decidedIn is race.js's function of this name.
func decidedIn(field []racer, leader int, now float64) float64 {
	leading := field[leader]
	wait := 0.0
	if leading.samples < samples {
		wait = leading.since + 3*leading.best + 20 - now
	}
	for i, r := range field {
		switch {
		case i == leader || r.samples >= samples:
		case r.samples == 0:
			wait = max(wait, leading.best*openingTrips-now)
		case r.best < leading.best*1.2+2:
			if due := r.since + r.best*1.1 + 1 - now; due <= leading.best/2+1 {
				wait = max(wait, due)
			}
		}
	}
	return wait
}
