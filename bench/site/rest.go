package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// rest measures a site where all seats stream and nobody comes.
func rest(ctx context.Context, b *bench) error {
	s, err := b.share(ctx)
	if err != nil {
		return err
	}
	return b.finish(ctx, "rest", s, b.measureRest(ctx, s))
}

func (b *bench) measureRest(ctx context.Context, s *site) error {
	for _, one := range s.seats.all {
		one.mu.Lock()
		idle := one.state == wire.SeatIdle
		one.mu.Unlock()
		if idle {
			s.seats.toggle(one)
		}
	}
	if err := s.caughtUp(ctx, time.Minute); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	writes, err := s.consul.raft(ctx)
	if err != nil {
		return err
	}
	before, server, last := make([]float64, len(s.brains)), s.consul.process.cpu(), b.of(20*time.Second, 3*time.Second)
	for i, one := range s.brains {
		before[i] = one.cpu()
	}
	pause(ctx.Done(), last)
	worst, resident, peak := 0.0, 0.0, 0.0
	for i, one := range s.brains {
		worst = max(worst, (one.cpu()-before[i])/last.Seconds()*100)
		now, most := one.memory()
		resident, peak = max(resident, now), max(peak, most)
	}
	if err := b.atMost("rest", "cpu", "% of a core", worst, 2, labels{"part": "brain"}); err != nil {
		return err
	}
	if err := b.figure("rest", "cpu", "% of a core", (s.consul.process.cpu()-server)/last.Seconds()*100, labels{"part": "consul"}); err != nil {
		return err
	}
	if err := b.atMost("rest", "memory", "MB", resident, 150, labels{"part": "brain", "peak": peak}); err != nil {
		return err
	}
	now, most := s.consul.process.memory()
	if err := b.atMost("rest", "memory", "MB", now, 400, labels{"part": "consul", "peak": most}); err != nil {
		return err
	}
	after, err := s.consul.raft(ctx)
	if err != nil {
		return err
	}
	if err := b.figure("rest", "raft_writes", "1/s", (after-writes)/last.Seconds(), nil); err != nil {
		return err
	}
	return s.settle(ctx)
}

// quiet waits until brains and Consul have done what was begun before: until what they take
// in two seconds is what they took in the two seconds before.
func (s *site) quiet(ctx context.Context) error {
	const (
		last   = 2 * time.Second
		few    = 0.06 // seconds of CPU, by which two may differ
		writes = 4
	)
	s.feeds.writeClasses(0) // and not while CPU is measured
	all := append(s.processes(), s.consul.process)
	before, wrote := -1.0, -1.0
	return until(ctx, 2*time.Minute, "the site has done what was begun", func() error {
		used := cpus(all)
		raft, err := s.consul.raft(ctx)
		if err != nil {
			return err
		}
		pause(ctx.Done(), last)
		used = cpus(all) - used
		now, err := s.consul.raft(ctx)
		if err != nil {
			return err
		}
		raft = now - raft
		same := before >= 0 && math.Abs(used-before) <= max(few, 0.25*before) && math.Abs(raft-wrote) <= writes
		before, wrote = used, raft
		if !same {
			return fmt.Errorf("%.2f s of CPU and %.0f writes in %v", used, raft, last)
		}
		return nil
	})
}

// raft measures Consul's writes for a session from the launch until a new seat is idle, at
// the rate of a site whose sessions last 15 minutes, and at a busier one.
func raft(ctx context.Context, b *bench) error {
	s, err := b.share(ctx)
	if err != nil {
		return err
	}
	return b.finish(ctx, "raft", s, func() error {
		calm := b.of(5*time.Second, 3*time.Second)
		if err := s.quiet(ctx); err != nil {
			return err
		}
		before, err := s.consul.raft(ctx)
		if err != nil {
			return err
		}
		pause(ctx.Done(), calm)
		after, err := s.consul.raft(ctx)
		if err != nil {
			return err
		}
		for _, rate := range []float64{11, 100} {
			if b.quick && rate != 11 {
				continue
			}
			if err := b.measureRaft(ctx, s, b.scaled(rate), (after-before)/calm.Seconds(), rate == 11); err != nil {
				return err
			}
		}
		return nil
	}())
}

// measureRaft measures at one rate. atRest is how many entries a second Raft has at rest.
func (b *bench) measureRaft(ctx context.Context, s *site, rate, atRest float64, aim bool) error {
	last, after := b.of(20*time.Second, 5*time.Second), 3*time.Second
	before, err := s.consul.raft(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	c := &crowd{site: s, rate: rate, last: last, hold: time.Second, most: 10 * time.Second, leaves: true,
		of: func(i int) *person { p := s.person(appName(i % s.apps)); p.play, p.routed = true, true; return p }}
	c.come(ctx)
	pause(ctx.Done(), after) // until the last capacity is published
	now, err := s.consul.raft(ctx)
	if err != nil {
		return err
	}
	o := c.outcomes(time.Now())
	a := (now - before - atRest*time.Since(began).Seconds()) / float64(max(1, o.granted))
	more := labels{"sessions": o.granted, "offered": rate, "at_rest": atRest}
	if err := s.calm(ctx); err != nil {
		return err
	}
	if !aim {
		return b.figure("raft", "raft_writes", "a session", a, more)
	}
	return b.atMost("raft", "raft_writes", "a session", a, 2, more)
}
