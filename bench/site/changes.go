package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

// changeRate is how many changes a second a brain is to follow. A smaller site has fewer: a
// seat that changes more than once in two seconds is none.
const changeRate = 5000

func (s *site) changeRate(most float64) float64 { return min(most, float64(len(s.seats.all))/2) }

// changes measures what brains make of seats that change.
func changes(ctx context.Context, b *bench) error {
	s, err := b.share(ctx)
	if err != nil {
		return err
	}
	return b.finish(ctx, "changes", s, b.measureChanges(ctx, s, s.changeRate(changeRate), b.of(10*time.Second, 3*time.Second)))
}

// slope measures what a change costs one brain at three sizes of a site. The rate is the same
// at all of them, and what the brain costs at rest is not counted.
func slope(ctx context.Context, b *bench) error {
	cost := map[int]float64{}
	sizes := []int{max(100, b.seats/100), max(300, b.seats/10), b.seats}
	for _, seats := range sizes {
		s, err := b.open(ctx, plan{brains: 1, apps: 20, seats: seats, dead: b.dead * seats / b.seats})
		if err != nil {
			return err
		}
		if err := s.quiet(ctx); err != nil {
			return b.finish(ctx, "slope", s, err)
		}
		calm, last := b.of(6*time.Second, 2*time.Second), b.of(20*time.Second, 4*time.Second)
		before := cpus(s.processes())
		pause(ctx.Done(), calm)
		rest := (cpus(s.processes()) - before) / calm.Seconds()
		before, began := cpus(s.processes()), time.Now()
		n := s.change(ctx, slopeRate, last, nil)
		pause(ctx.Done(), 500*time.Millisecond) // until the last are told
		used := cpus(s.processes()) - before - rest*time.Since(began).Seconds()
		cost[seats] = used * 1000 / float64(n)
		err = b.figure("slope", "cpu", "ms a change", cost[seats], labels{"seats": seats, "at_rest": rest * 100, "changes": n})
		if err := b.finish(ctx, "slope", s, err); err != nil {
			return err
		}
	}
	first, last := cost[sizes[0]], cost[sizes[2]]
	return b.atMost("slope", "growth", "share", last/max(first, 1e-3)-1, 0.1, labels{"from": sizes[0], "to": sizes[2]})
}

// slopeRate is a rate that a site of 100 seats can have.
const slopeRate = 500

// measureChanges changes seats at a rate, first to see what that costs, then to see how old
// the views of the brains are.
func (b *bench) measureChanges(ctx context.Context, s *site, rate float64, last time.Duration) error {
	if err := s.quiet(ctx); err != nil {
		return err
	}
	before, began, own := make([]float64, len(s.brains)), time.Now(), ownCPU()
	for i, one := range s.brains {
		before[i] = one.cpu()
	}
	n := s.change(ctx, rate, last, nil)
	if err := s.caughtUp(ctx, time.Minute); err != nil {
		return err
	}
	took, most := time.Since(began).Seconds(), 0.0
	for i, one := range s.brains {
		most = max(most, (one.cpu()-before[i])*1000/float64(n))
	}
	if err := b.atLeast("changes", "followed", "1/s", float64(n)/took, 0.97*rate, labels{"offered": rate, "bench_cpu": (ownCPU() - own) / took * 100}); err != nil {
		return err
	}
	if err := b.atMost("changes", "cpu", "ms a change", most, 0.2, nil); err != nil {
		return err
	}
	delay, missed := s.delays(ctx, rate, last)
	if err := b.atMost("changes", "delay_p99", "ms", quantile(delay, 0.99), 20,
		labels{"p50": quantile(delay, 0.5), "n": len(delay), "missed": missed}); err != nil {
		return err
	}
	return s.settle(ctx)
}

// change toggles seats at a rate. watch, unless nil, sees each change that begins a session.
func (s *site) change(ctx context.Context, rate float64, last time.Duration, watch func(one *seat, session string, at time.Time)) (n int) {
	began := time.Now()
	total := int(rate * last.Seconds())
	for n < total && ctx.Err() == nil {
		for due := min(total, int(time.Since(began).Seconds()*rate)+1); n < due; n++ {
			one := s.seats.all[rand.IntN(len(s.seats.all))]
			session, at := s.seats.toggle(one)
			if session != "" && watch != nil {
				watch(one, session, at)
			}
		}
		pause(ctx.Done(), time.Millisecond)
	}
	return n
}

// settle makes all seats idle that are not.
func (s *site) settle(ctx context.Context) error {
	for _, one := range s.seats.all {
		one.mu.Lock()
		streams := one.state == wire.SeatStreaming
		one.mu.Unlock()
		if streams {
			s.seats.toggle(one)
		}
	}
	return s.caughtUp(ctx, time.Minute)
}

// probeEvery is how often one change among all is looked for at a brain.
const probeEvery = 50 * time.Millisecond

// delays changes seats at a rate, and looks for some of the new sessions at the brains: how
// many ms after the change the brain knows it. missed are those that had changed again before
// the brain knew them; they count with the time until then, so the truth is worse.
func (s *site) delays(ctx context.Context, rate float64, last time.Duration) (out []float64, missed int) {
	var (
		mu   sync.Mutex
		next time.Time
		i    atomic.Int64
		all  sync.WaitGroup
	)
	s.change(ctx, rate, last, func(one *seat, session string, at time.Time) {
		if at.Before(next) {
			return
		}
		next = at.Add(probeEvery)
		brain := s.brains[int(i.Add(1))%len(s.brains)]
		all.Go(func() {
			for ctx.Err() == nil && time.Since(at) < 20*time.Second {
				_, err := s.session(ctx, brain, session)
				took, again := time.Since(at), !one.has(session)
				if err == nil || again {
					mu.Lock()
					defer mu.Unlock()
					if out = append(out, ms(took)); err != nil {
						missed++
					}
					return
				}
				pause(ctx.Done(), 500*time.Microsecond)
			}
		})
	})
	all.Wait()
	return out, missed
}

// session asks a brain for a session, as a router does.
func (s *site) session(ctx context.Context, b *server, id string) (view wire.SessionView, err error) {
	key, err := s.keyOf(ctx, b)
	if err != nil {
		return view, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+b.internal+"/v1/sessions/"+id, nil)
	if err != nil {
		return view, err
	}
	resp, err := s.ask.To(key).Do(req)
	if err != nil {
		return view, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return view, fmt.Errorf("%s does not know session %s: %s %s", b.name, id, resp.Status, text)
	}
	return view, json.NewDecoder(resp.Body).Decode(&view)
}

// keyOf is the key of a brain, as Consul has it.
func (s *site) keyOf(ctx context.Context, b *server) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.key != "" {
		return b.key, nil
	}
	var list []struct{ ServiceMeta map[string]string }
	if err := s.consul.get(ctx, "/v1/catalog/service/"+wire.BrainService, &list); err != nil {
		return "", err
	}
	for _, one := range list {
		if one.ServiceMeta["instance"] == b.name {
			b.key = one.ServiceMeta["key"]
			return b.key, nil
		}
	}
	return "", fmt.Errorf("%s is not in consul", b.name)
}

// caughtUp waits until each brain knows the last changes: a feed keeps the order
// of a node's changes.
func (s *site) caughtUp(ctx context.Context, limit time.Duration) error {
	last := map[string]bool{}
	for i, n := range s.seats.nodes {
		if i%max(1, len(s.seats.nodes)/24) != 0 {
			continue // some of them show it
		}
		for _, one := range n.seats {
			one.mu.Lock()
			free := one.state == wire.SeatIdle
			session := one.session
			streams := one.state == wire.SeatStreaming
			one.mu.Unlock()
			if free {
				session, _ = s.seats.toggle(one)
				last[session] = true
				defer s.seats.toggle(one)
				break
			} else if streams && one == n.seats[len(n.seats)-1] {
				last[session] = true
			}
		}
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, b := range s.brains {
		if b.alive() != nil {
			continue
		}
		all.Go(func() error {
			for session := range last {
				if err := until(ctx, limit, b.name+" has caught up", func() error { _, err := s.session(ctx, b, session); return err }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}
