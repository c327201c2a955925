package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/nearcast/nearcast/bench/cgroup"
	"github.com/nearcast/nearcast/internal/wire"
)

// claimRates are the offered rates at 10,000 seats. atRate is the one with aims, and
// compareRate the one at which numbers of apps are compared.
var claimRates = []float64{100, 300, 1000, 3000, 10_000}

const (
	openAtOnce  = 8000 // people without a seat
	atRate      = 1000
	compareRate = 300
)

// claimed is what came of one rate.
type claimed struct {
	perSecond, p50, p99 float64
	// CPU in ms: of the brains and of Consul for each claim, of the benchmark's people and
	// seats for each person.
	cpu, consul, own float64
	outcome
}

// scaled is a rate for the number of seats that there are.
func (b *bench) scaled(rate float64) float64 { return max(10, rate*float64(b.seats)/10_000) }

// offer makes people come at a rate who want a seat of any app, hold it for a second, and go.
func (s *site) offer(ctx context.Context, rate float64, last time.Duration) claimed {
	before, consul, own := cpus(s.processes()), s.consul.process.cpu(), ownCPU()
	// Those who are not served go before too many sockets are open.
	patience := min(5*time.Second, time.Duration(openAtOnce/rate*float64(time.Second)))
	c := &crowd{site: s, rate: rate, last: last, hold: time.Second, most: patience,
		of: func(i int) *person { p := s.person(appName(i % s.apps)); p.stay = true; return p }}
	began := time.Now()
	c.come(ctx)
	o := c.outcomes(began.Add(last))
	got := claimed{perSecond: float64(o.granted) / last.Seconds(), p50: quantile(o.latency, 0.5), p99: quantile(o.latency, 0.99), outcome: o}
	if n := o.granted + o.late; n > 0 {
		got.cpu = (cpus(s.processes()) - before) * 1000 / float64(n)
		got.consul = (s.consul.process.cpu() - consul) * 1000 / float64(n)
		got.own = (ownCPU() - own) * 1000 / float64(o.come)
	}
	return got
}

// person makes the next person.
func (s *site) person(app string) *person {
	s.came++
	return &person{site: s, n: s.came, app: app, known: seen{n: s.came, app: app}}
}

// calm waits until all seats are idle again.
func (s *site) calm(ctx context.Context) error {
	return until(ctx, 30*time.Second, "all seats are idle again", func() error {
		if n := s.seats.inState(wire.SeatIdle); n < len(s.seats.all) {
			return fmt.Errorf("%d of %d are", n, len(s.seats.all))
		}
		return nil
	})
}

// claims offers people at rising rates.
func claims(ctx context.Context, b *bench) error {
	s, err := b.share(ctx)
	if err != nil {
		return err
	}
	return b.finish(ctx, "claims", s, func() error {
		if err := s.quiet(ctx); err != nil {
			return err
		}
		for _, rate := range claimRates {
			if b.quick && rate != atRate && rate != compareRate {
				continue
			}
			compared := rate == compareRate
			rate = b.scaled(rate)
			last := b.of(5*time.Second, 3*time.Second)
			if rate == b.scaled(atRate) {
				last = b.of(10*time.Second, 3*time.Second)
			}
			got := s.offer(ctx, rate, last)
			if err := b.claimLines("claims", s, rate, got, rate == b.scaled(atRate)); err != nil {
				return err
			}
			if compared {
				b.cost20 = got.cpu
			}
			if err := s.calm(ctx); err != nil {
				return err
			}
		}
		return nil
	}())
}

// claimLines writes what came of one rate.
func (b *bench) claimLines(row string, s *site, rate float64, got claimed, aims bool) error {
	more := labels{"apps": s.apps, "offered": rate, "told": got.told, "busy": got.busy, "refused": got.refused, "late": got.late, "lost": got.lost}
	if why := most(got.why); why != "" {
		more["why"] = why
	}
	latency, cpu := maps.Clone(more), maps.Clone(more)
	latency["p50"] = got.p50
	cpu["consul"], cpu["bench"] = got.consul, got.own
	if !aims {
		if err := b.figure(row, "granted", "1/s", got.perSecond, more); err != nil {
			return err
		}
		if err := b.figure(row, "latency_p99", "ms", got.p99, latency); err != nil {
			return err
		}
		return b.figure(row, "cpu", "ms a claim", got.cpu, cpu)
	}
	if err := b.atLeast(row, "granted", "1/s", got.perSecond, 0.99*rate, more); err != nil {
		return err
	}
	if err := b.atMost(row, "latency_p99", "ms", got.p99, 100, latency); err != nil {
		return err
	}
	return b.atMost(row, "cpu", "ms a claim", got.cpu, 1, cpu)
}

// most is the most frequent reason.
func most(why map[string]int) (text string) {
	for reason, n := range why {
		if n > why[text] {
			text = reason
		}
	}
	return text
}

// claimsByApps compares what a claim costs with 1, 20 and 100 apps.
func claimsByApps(ctx context.Context, b *bench) error {
	cost := map[int]float64{20: b.cost20}
	for _, apps := range []int{1, 20, 100} {
		if cost[apps] > 0 {
			continue // the row claims has measured it
		}
		s, err := b.open(ctx, plan{brains: b.brains, apps: apps, seats: b.seats, dead: b.dead, lease: 200 * time.Millisecond})
		if err != nil {
			return err
		}
		if err := s.quiet(ctx); err != nil {
			return b.finish(ctx, "apps", s, err)
		}
		rate := b.scaled(compareRate)
		s.offer(ctx, rate, time.Second) // what is paid once
		got := s.offer(ctx, rate, b.of(5*time.Second, 3*time.Second))
		cost[apps] = got.cpu
		if err := b.finish(ctx, "apps", s, b.claimLines("apps", s, rate, got, false)); err != nil {
			return err
		}
	}
	for _, apps := range []int{1, 100} {
		if err := b.atMost("apps", "cpu_difference", "share", math.Abs(cost[apps]/max(cost[20], 1e-9)-1), 0.2, labels{"apps": apps, "to": 20}); err != nil {
			return err
		}
	}
	return nil
}

const (
	// plateauProcessors is what the brain of plateau may use: so little that two processors are
	// enough for people, seats and Consul beside it. With half a processor, ten times the people
	// that it can serve take more than there is, and the benchmark measures itself.
	plateauProcessors = 0.2
	// plateauFor is how long they come. It has to be several times longer than a person waits.
	plateauFor = 24 * time.Second
)

// plateau offers one brain ten times what it can take.
func plateau(ctx context.Context, b *bench) error {
	s, err := b.open(ctx, plan{brains: 1, apps: 20, seats: b.seats, dead: b.dead, lease: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	quota, err := cgroup.NewQuota("plateau", plateauProcessors, 10*time.Millisecond)
	if err == nil {
		err = quota.Add(s.brains[0].pid())
	}
	if err != nil {
		return b.finish(ctx, "plateau", s, fmt.Errorf("limit the brain to %v processors, which takes root: %w", plateauProcessors, err))
	}
	err = b.finish(ctx, "plateau", s, b.measurePlateau(ctx, s))
	return errors.Join(err, quota.Remove())
}

func (b *bench) measurePlateau(ctx context.Context, s *site) error {
	if err := s.quiet(ctx); err != nil {
		return err
	}
	best := 0.0
	last := b.of(6*time.Second, 2*time.Second)
	for rate := b.scaled(25); ; rate *= 2 {
		got := s.offer(ctx, rate, last)
		if err := b.claimLines("plateau", s, rate, got, false); err != nil {
			return err
		}
		best = max(best, got.perSecond)
		if err := s.calm(ctx); err != nil {
			return err
		}
		if got.perSecond < 0.9*rate || rate > 1000 {
			break
		}
	}
	_, before := s.brains[0].memory()
	got := s.offer(ctx, 10*best, b.of(plateauFor, 2*last))
	_, after := s.brains[0].memory()
	more := labels{"offered": 10 * best, "best": best, "p50": got.p50, "told": got.told, "busy": got.busy, "refused": got.refused, "late": got.late, "lost": got.lost}
	if why := most(got.why); why != "" {
		more["why"] = why
	}
	if err := b.atLeast("plateau", "granted", "share of best", got.perSecond/max(best, 1e-9), 0.9, more); err != nil {
		return err
	}
	if err := b.atLeast("plateau", "told", "share", 1-float64(got.lost)/float64(max(1, got.come)), 0.99, nil); err != nil {
		return err
	}
	return b.atMost("plateau", "memory", "MB", after, 384, labels{"before": before})
}
