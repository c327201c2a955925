package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nearcast/nearcast/router/placement/probe"
)

// survey is the page's (web/assets/js/survey.js): it measures as the router
// advises, and ends each round when every site has answered, or was silent for so
// long that it cannot win; a late answer still counts when it comes.
type survey struct {
	way   path
	in    browser
	most  int // sites measured
	first int // at once in the first round
	next  int // and in those after it
	heard int // as many answers are waited for in any case
	all   bool
}

// page is what the page does.
var page = survey{way: overHTTP, in: chromium, most: probe.Most, first: 3, next: 2}

// oneByOne asks after one site at a time.
func oneByOne(most int) survey {
	s := page
	s.most, s.first, s.next = most, 1, 1
	return s
}

func (s survey) atOnce() string {
	if s.first == s.next {
		return fmt.Sprint(s.first)
	}
	return fmt.Sprintf("%d+%d", s.first, s.next)
}

// roundMS is how long a round takes at most.
const roundMS = 1000

// ask follows the advice of a model until there is none.
func (s survey) ask(p *person, model *probe.Model, asked *probe.Asked) outcome {
	w := p.world
	var order []int // sites asked
	var coming []news
	r := newRace(nil, 0)
	at, told := 0.0, 0
	asked.Most, asked.AtOnce = s.most, s.first
	if asked.RTT == nil {
		asked.RTT = map[string]float64{}
	}
	for round := 0; ; round++ {
		advice := model.Next(*asked)
		asked.AtOnce = s.next
		if round > 0 {
			at += p.trip(p.entry) + s.in.tells // to ask; the first advice came with the page
		}
		if len(advice.Probe) == 0 || len(order) >= s.most {
			break
		}
		for _, name := range advice.Probe[:min(len(advice.Probe), s.most-len(order))] {
			site := w.site(name, 0)
			for _, n := range p.answers(site, s.way, s.in) {
				n.Site, n.At = len(order), n.At+at
				if n.Opened > 0 {
					n.Opened += at
				}
				coming = append(coming, n)
			}
			order = append(order, site)
			r.add(s.way.trips(), at)
		}
		slices.SortStableFunc(coming[told:], func(a, b news) int { return cmp.Compare(a.At, b.At) })
		end := at + roundMS
		for {
			for told < len(coming) && coming[told].At <= at {
				r.tell(&coming[told])
				told++
			}
			wait := end - at
			if r.answered() >= len(order) {
				wait = 0
			} else if !s.all && r.answered() >= min(s.heard, len(order)) && r.leader() >= 0 {
				wait = min(wait, r.decidedIn(at))
			}
			if told == len(coming) || at+wait < coming[told].At {
				at += max(0, wait)
				break
			}
			at = coming[told].At
		}
		asked.Failed, asked.Silent = asked.Failed[:0], map[string]float64{}
		for k, site := range order {
			switch c := &r.sites[k]; {
			case c.samples > 0:
				asked.RTT[w.names[site]] = c.best
			case at-c.began >= roundMS:
				asked.Failed = append(asked.Failed, w.names[site])
			default:
				asked.Silent[w.names[site]] = (at - c.opened) / c.trips
			}
		}
	}
	out := outcome{site: p.entry, probes: len(order), ms: at}
	if l := r.leader(); l >= 0 {
		out.site = order[l]
	}
	return out
}

// add lets one more site take part from now on.
func (r *race) add(trips int, now float64) {
	more := newRace([]int{trips}, now)
	r.started, r.sites = now, append(r.sites, more.sites...)
}

// answered is how many sites have.
func (r *race) answered() int {
	n := 0
	for i := range r.sites {
		if r.sites[i].samples > 0 {
			n++
		}
	}
	return n
}
