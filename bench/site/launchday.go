package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// launchDay lets ten people come for each two seats of an app, within ten seconds.
func launchDay(ctx context.Context, b *bench) error {
	s, err := b.open(ctx, plan{brains: b.brains, routers: 2, apps: 5, seats: b.seats, dead: b.dead, lease: 3 * time.Second, start: 300 * time.Millisecond})
	if err != nil {
		return err
	}
	return b.finish(ctx, "launchday", s, b.measureLaunchDay(ctx, s))
}

func (b *bench) measureLaunchDay(ctx context.Context, s *site) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	seats, come := b.seats/5, b.of(10*time.Second, 4*time.Second)
	began := time.Now()
	before := cpus(s.processes())
	people := s.gather(ctx, b.seats, float64(b.seats)/come.Seconds(), func(int) *person {
		p := s.person(appName(0))
		p.play, p.stay, p.routed = true, true, true
		return p
	})
	pause(ctx.Done(), time.Until(began.Add(come+5*time.Second)))
	all := views(people)
	seated := 0
	var latency []float64
	for _, p := range all {
		if !p.granted.IsZero() {
			seated++
			latency = append(latency, ms(p.granted.Sub(p.asked)))
		}
	}
	if err := b.atLeast("launchday", "seated_in_time", "people", float64(seated), float64(seats), labels{"seats": seats, "people": len(all), "within_s": (come + 5*time.Second).Seconds(),
		"p50": quantile(latency, 0.5), "p99": quantile(latency, 0.99), "brains_cpu_s": cpus(s.processes()) - before}); err != nil {
		return err
	}
	// All others are to wait: they may come back a few times until they do.
	_ = until(ctx, 20*time.Second, "all are seated or wait", func() error {
		if n := count(views(people), stateComing, stateLost, stateRefused, stateEnded); n > 0 {
			return fmt.Errorf("%d are not", n)
		}
		return nil
	})
	all = views(people)
	left, twice := count(all, stateComing, stateLost, stateRefused, stateEnded), 0
	for _, p := range all {
		if p.grants > 1 {
			twice++
		}
	}
	if err := b.atMost("launchday", "not_served", "people", float64(left), 0, labels{"why": reason(all), "waiting": count(all, stateWaiting)}); err != nil {
		return err
	}
	if err := b.atMost("launchday", "seated_twice", "people", float64(twice), 0, nil); err != nil {
		return err
	}
	if err := b.figure("launchday", "position_error_p99", "places", positions(all), nil); err != nil {
		return err
	}
	return b.order(ctx, "launchday", s, people, seats/10, time.Time{})
}

// order ends sessions, so that those who wait get their seats, and looks at the order.
func (b *bench) order(ctx context.Context, row string, s *site, people []*person, ends int, since time.Time) error {
	began := time.Now()
	ended := 0
	for _, p := range people {
		v := p.view()
		if ended == ends {
			break
		}
		if one := s.seats.of(v.session); v.state == stateGranted && one != nil {
			ended++
			s.seats.end(one, v.session)
			pause(ctx.Done(), 5*time.Millisecond)
		}
	}
	next := func() (n int) {
		for _, p := range views(people) {
			if p.granted.After(began) {
				n++
			}
		}
		return n
	}
	_ = until(ctx, 15*time.Second, "the seats are taken again", func() error {
		if n := next(); n < ended {
			return fmt.Errorf("%d of %d", n, ended)
		}
		return nil
	})
	if err := b.atLeast(row, "seats_taken_again", "share", float64(next())/float64(max(1, ended)), 0.99, labels{"ended": ended}); err != nil {
		return err
	}
	pause(ctx.Done(), 600*time.Millisecond) // grants that are under way
	n, worst := overtaken(views(people), since)
	all, _ := overtaken(views(people), time.Time{})
	return b.atMost(row, "overtaken", "people", float64(n), 0, labels{"worst_ms": ms(worst), "with_earlier": all})
}

// gather lets n people come at a rate, who stay until ctx ends.
func (s *site) gather(ctx context.Context, n int, rate float64, of func(i int) *person) (people []*person) {
	began := time.Now()
	for i := range n {
		if wait := time.Until(began.Add(time.Duration(float64(i) / rate * float64(time.Second)))); wait > time.Millisecond && !pause(ctx.Done(), wait) {
			return people
		}
		p := of(i)
		people = append(people, p)
		s.people.Go(func() { p.run(ctx) })
	}
	return people
}

func views(people []*person) (out []seen) {
	for _, p := range people {
		out = append(out, p.view())
	}
	return out
}

// count is how many people are in one of these states.
func count(people []seen, states ...string) (n int) {
	for _, p := range people {
		if slices.Contains(states, p.state) {
			n++
		}
	}
	return n
}

// reason is the most frequent reason why people are not served.
func reason(people []seen) string {
	why := map[string]int{}
	for _, p := range people {
		if p.state != stateGranted && p.state != stateWaiting && p.why != "" {
			why[p.why]++
		}
	}
	return most(why)
}
