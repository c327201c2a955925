package main

import (
	"context"
	"fmt"
	"time"
)

// brainKill kills one brain of four, as many as docs/SCALE.md asks for: the others can take
// its people. Half of all people have seats, the others wait.
func brainKill(ctx context.Context, b *bench) error {
	s, err := b.open(ctx, plan{brains: b.brains + 1, apps: 10, seats: b.seats / 2, dead: b.dead, lease: 3 * time.Second, start: 300 * time.Millisecond})
	if err != nil {
		return err
	}
	return b.finish(ctx, "brainkill", s, b.measureBrainKill(ctx, s))
}

func (b *bench) measureBrainKill(ctx context.Context, s *site) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	half := b.seats / 2
	people := s.gather(ctx, 2*half, b.rate(700, 200), func(i int) *person {
		p := s.person(appName(i % s.apps))
		p.play, p.stay = true, true
		return p
	})
	settled := until(ctx, 30*time.Second, "half have seats and half wait", func() error {
		all := views(people)
		if g, w := count(all, stateGranted), count(all, stateWaiting); g < half || w < half {
			return fmt.Errorf("%d have seats, %d wait; of the others: %s", g, w, reason(all))
		}
		return nil
	})
	all := views(people)
	if err := b.line("brainkill", "before", "people", float64(count(all, stateGranted)+count(all, stateWaiting)), fmt.Sprintf("= %d", 2*half), settled == nil,
		labels{"granted": count(all, stateGranted), "waiting": count(all, stateWaiting), "why": reason(all)}); err != nil {
		return err
	}
	victim := s.brains[1%len(s.brains)]
	had := map[string]string{} // seats by session
	var lost []*person
	for i, v := range all {
		if v.state == stateGranted {
			had[v.session] = v.seat
		}
		if v.brain == victim.url && (v.state == stateGranted || v.state == stateWaiting) {
			lost = append(lost, people[i])
			people[i].lose()
		}
	}
	say("killing %s, which serves %d people", victim.name, len(lost))
	victim.kill()
	began := time.Now()
	_ = until(ctx, 30*time.Second, "all are back", func() error {
		if n := away(lost); n > 0 {
			return fmt.Errorf("%d are not", n)
		}
		return nil
	})
	var back []float64
	for _, p := range lost {
		if v := p.view(); !v.back.IsZero() {
			back = append(back, v.back.Sub(began).Seconds())
		}
	}
	if err := b.atMost("brainkill", "back_max", "s", quantile(back, 1), 10, labels{"p50": quantile(back, 0.5), "n": len(back)}); err != nil {
		return err
	}
	if err := b.atMost("brainkill", "not_back", "people", float64(away(lost)), 0, labels{"why": reason(views(lost))}); err != nil {
		return err
	}
	broken := 0
	for session, id := range had {
		one := s.seats.of(session)
		if one == nil {
			broken++
			continue
		}
		one.mu.Lock()
		if one.id != id || one.session != session {
			broken++
		}
		one.mu.Unlock()
	}
	if err := b.atMost("brainkill", "streams_ended", "sessions", float64(broken), 0, labels{"sessions": len(had)}); err != nil {
		return err
	}
	if err := b.order(ctx, "brainkill", s, people, half/10, began); err != nil {
		return err
	}
	peak := 0.0
	for _, one := range s.brains {
		if one.alive() == nil {
			_, most := one.memory()
			peak = max(peak, most)
		}
	}
	return b.figure("brainkill", "memory_peak", "MB", peak, labels{"part": "brain"})
}

// away is how many people are not served again.
func away(people []*person) (n int) {
	for _, v := range views(people) {
		if v.back.IsZero() || v.state != stateGranted && v.state != stateWaiting {
			n++
		}
	}
	return n
}
