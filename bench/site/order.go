package main

import (
	"slices"
	"time"
)

// near is how close together people may come for the order between them not to count: the
// clocks of routers differ by so much.
const near = 100 * time.Millisecond

// overtaken looks whether people who waited were served in the order in which they came; each
// app has a queue of its own. A person was overtaken who had been told that they wait before
// another one even pressed Play, and who had no seat yet half a second after the other one had.
// worst is how much later that other one came. Seats that were given before since are not looked
// at: while seats are free for all, each brain gives them as fast as it can.
func overtaken(people []seen, since time.Time) (count int, worst time.Duration) {
	apps := map[string][]seen{}
	for _, p := range people {
		apps[p.app] = append(apps[p.app], p)
	}
	for _, queue := range apps {
		n, by := overtakenIn(queue, since)
		count, worst = count+n, max(worst, by)
	}
	return count, worst
}

// overtakenIn is overtaken for the people of one app.
func overtakenIn(people []seen, since time.Time) (count int, worst time.Duration) {
	heard := slices.DeleteFunc(slices.Clone(people), func(p seen) bool { return p.heard.IsZero() })
	slices.SortFunc(heard, func(a, b seen) int { return a.heard.Compare(b.heard) })
	found := map[int]bool{}
	for _, g := range people {
		if g.granted.IsZero() || g.granted.Before(since) {
			continue
		}
		for _, w := range heard {
			if !w.heard.Before(g.asked.Add(-near)) {
				break
			}
			if w.n != g.n && (w.granted.IsZero() || w.granted.After(g.granted.Add(500*time.Millisecond))) && !w.over() {
				found[w.n] = true
				worst = max(worst, g.asked.Sub(w.heard))
			}
		}
	}
	return len(found), worst
}

// over reports whether the person no longer waits, without a seat.
func (p seen) over() bool {
	return p.granted.IsZero() && p.state != stateWaiting && p.state != stateComing
}

// positions compares the places that people were told last with the order in which they came:
// p99 of the difference.
func positions(people []seen) float64 {
	var waiting []seen
	for _, p := range people {
		if p.state == stateWaiting && p.position > 0 {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b seen) int { return a.launched.Compare(b.launched) })
	var off []float64
	for i, p := range waiting {
		off = append(off, float64(max(p.position-i-1, i+1-p.position)))
	}
	return quantile(off, 0.99)
}
