package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// within is how soon a site is to see what happened.
const within = 10 * time.Second

// faults kills Consul's server, cuts a node off, and sets clocks wrong, while people play and
// come.
func faults(ctx context.Context, b *bench) error {
	s, err := b.share(ctx)
	if err != nil {
		return err
	}
	return b.finish(ctx, "faults", s, b.measureFaults(ctx, s))
}

func (b *bench) measureFaults(ctx context.Context, s *site) error {
	stay, leave := context.WithCancel(ctx)
	defer leave()
	playing := s.gather(stay, b.seats/20, b.rate(200, 50), func(i int) *person {
		p := s.person(appName(i % s.apps))
		p.play, p.stay = true, true
		return p
	})
	if err := until(ctx, 20*time.Second, "all play", func() error {
		if n := count(views(playing), stateGranted); n < len(playing) {
			return fmt.Errorf("%d of %d do: %s", n, len(playing), reason(views(playing)))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, fault := range []func(context.Context, *site, []*person) error{b.consulKilled, b.nodeCut, b.clockWrong} {
		if err := fault(ctx, s, playing); err != nil {
			return err
		}
	}
	for _, p := range playing {
		v := p.view()
		if one := s.seats.of(v.session); one != nil {
			s.seats.end(one, v.session)
		}
	}
	leave()
	return s.calm(ctx)
}

// stillPlaying is how many of the people who play have lost their seats.
func (b *bench) stillPlaying(fault string, s *site, playing []*person) error {
	lost := 0
	for _, v := range views(playing) {
		if one := s.seats.of(v.session); one == nil || v.state != stateGranted || v.grants != 1 {
			lost++
		}
	}
	return b.atMost("faults", "sessions_lost", "", float64(lost), 0, labels{"fault": fault, "sessions": len(playing)})
}

// visitors come while something is wrong, and wait until they have a seat. seen is called
// once they come.
func (b *bench) visitors(ctx context.Context, s *site, fault string, rate float64, last time.Duration, during func() (healed time.Time, err error)) error {
	c := &crowd{site: s, rate: rate, last: last, hold: time.Second, most: last + 2*within, of: func(i int) *person {
		p := s.person(appName(i % s.apps))
		p.stay = true
		return p
	}}
	done := make(chan struct{})
	go func() { defer close(done); c.come(ctx) }()
	healed, err := during()
	<-done
	if err != nil {
		return err
	}
	o := c.outcomes(time.Now())
	if err := b.atMost("faults", "people_lost", "", float64(o.come-o.granted), 0, labels{"fault": fault, "people": o.come, "why": most(o.why), "p99_ms": quantile(o.latency, 0.99)}); err != nil {
		return err
	}
	slowest := 0.0
	for i, p := range c.people {
		if v := p.view(); !v.granted.IsZero() {
			from := c.due[i]
			if from.Before(healed) {
				from = healed
			}
			slowest = max(slowest, v.granted.Sub(from).Seconds())
		}
	}
	return b.atMost("faults", "served_within", "s", slowest, within.Seconds(), labels{"fault": fault})
}

func (b *bench) consulKilled(ctx context.Context, s *site, playing []*person) error {
	const fault = "consul killed"
	err := b.visitors(ctx, s, fault, b.scaled(50), b.of(10*time.Second, 5*time.Second), func() (time.Time, error) {
		pause(ctx.Done(), b.of(2*time.Second, time.Second))
		s.consul.process.kill()
		pause(ctx.Done(), b.of(4*time.Second, 2*time.Second))
		err := s.consul.start(ctx)
		return time.Now(), err
	})
	if err != nil {
		return err
	}
	return b.stillPlaying(fault, s, playing)
}

// nodeCut cuts a node off that has sessions and idle seats, and heals that. What routers are told
// shows when the site has seen it.
func (b *bench) nodeCut(ctx context.Context, s *site, playing []*person) error {
	const fault = "node cut"
	on := map[*node]int{}
	for _, v := range views(playing) {
		if one := s.seats.of(v.session); one != nil {
			on[one.node]++
		}
	}
	victim := s.seats.nodes[len(s.seats.nodes)-1]
	both := func(n *node) int { return min(on[n], len(n.seats)-on[n]) }
	for _, n := range s.seats.nodes {
		if both(n) > both(victim) {
			victim = n
		}
	}
	idle := func() (sum int) {
		_ = s.capacity(func(_ string, c wire.Capacity, _ int) error { sum += c.Idle; return nil })
		return sum
	}
	free := len(victim.seats) - on[victim]
	var before int
	if err := until(ctx, within, "capacity is steady", func() error {
		if before = idle(); before != s.seats.inState(wire.SeatIdle) {
			return fmt.Errorf("%d seats are published as idle, and %d are", before, s.seats.inState(wire.SeatIdle))
		}
		return nil
	}); err != nil {
		return err
	}
	say("cutting off %s with %d sessions and %d idle seats", victim.name, on[victim], free)
	for _, step := range []struct {
		what string
		cut  bool
		want int
	}{{"cut_seen", true, before - free}, {"heal_seen", false, before}} {
		victim.setCut(step.cut)
		began := time.Now()
		err := until(ctx, 3*within, "it is seen", func() error {
			if n := idle(); n != step.want {
				return fmt.Errorf("%d seats are published as idle, and not %d", n, step.want)
			}
			return nil
		})
		took, more := time.Since(began).Seconds(), labels{"fault": fault, "sessions": on[victim], "idle_seats": free}
		if err != nil {
			more["why"] = err.Error()
		}
		if err := b.line("faults", step.what, "s", took, "≤ 10", err == nil && took <= within.Seconds(), more); err != nil {
			return err
		}
	}
	return b.stillPlaying(fault, s, playing)
}

// clockWrong sets the clocks of a third of the nodes two minutes ahead: their seats take no
// ticket for good.
func (b *bench) clockWrong(ctx context.Context, s *site, playing []*person) error {
	const fault = "clock 2 min ahead"
	refused := s.seats.refused.Load()
	for i, n := range s.seats.nodes {
		if i%3 == 0 {
			n.setClock(2 * time.Minute)
		}
	}
	err := b.visitors(ctx, s, fault, b.scaled(50), b.of(5*time.Second, 3*time.Second), func() (time.Time, error) { return time.Time{}, nil })
	for _, n := range s.seats.nodes {
		n.setClock(0)
	}
	if err != nil {
		return err
	}
	if err := b.figure("faults", "tickets_refused", "", float64(s.seats.refused.Load()-refused), labels{"fault": fault}); err != nil {
		return err
	}
	return b.stillPlaying(fault, s, playing)
}
