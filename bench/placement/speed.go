package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/router/placement"
	"github.com/nearcast/nearcast/router/placement/probe"
)

// takeSpeed measures what a decision, and what a piece of advice, costs one core.
func (b *bench) takeSpeed(ctx context.Context) error {
	for _, n := range []int{20, 200} {
		w := plane(n)
		sites := make([]placement.Site, n)
		all, few := map[string]float64{}, map[string]float64{}
		for i := range sites {
			sites[i] = placement.Site{
				Name: w.names[i], Healthy: true, Present: true, Version: 3,
				Idle: i % 4, Busy: i % 8, Max: 20, ColdStart: 4000, Session: 300_000,
				PredictedRTT: w.from(i), PredictedError: 12,
			}
			all[w.names[i]] = w.from(i)
			if i < probe.Most {
				few[w.names[i]] = w.from(i)
			}
		}
		ranker := new(placement.Ranker) // as a router reuses them
		chance := rand.New(rand.NewPCG(b.seed, 1)).Float64
		for _, measured := range []map[string]float64{few, all} {
			req := placement.Request{RTT: measured, Entry: w.names[0], Between: w.between}
			l := labels("sites", n, "measured", len(measured))
			if err := b.rate(ctx, "decisions_per_s", "decision", l, func() { ranker.Rank(req, sites, chance) }); err != nil {
				return err
			}
		}
		model, err := probe.New(w.names, w.between)
		if err != nil {
			return err
		}
		for _, answers := range []int{1, 5} {
			asked := probe.Asked{Entry: w.names[0], RTT: map[string]float64{}, AtOnce: 2}
			for i := range answers {
				asked.RTT[w.names[3*i]] = w.from(3 * i)
			}
			l := labels("sites", n, "measured", answers)
			if err := b.rate(ctx, "advices_per_s", "advice", l, func() { model.Next(asked) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// rate reports how often something can be done in a second of one core, in
// windows of a fiftieth of the span, and what it allocates. Seconds are those
// that the process had of the processor, collecting garbage included: what else
// runs on the machine does not count.
func (b *bench) rate(ctx context.Context, measure, each string, l map[string]any, do func()) error {
	say("%s %v", measure, l)
	do()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var rates []float64
	count := 0
	start := time.Now()
	for time.Since(start) < b.span {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		window, used, n := time.Now(), processor(), 0
		for time.Since(window) < b.span/50 {
			do()
			n++
		}
		if used = processor() - used; used > 0 {
			rates = append(rates, float64(n)/used.Seconds())
		}
		count += n
	}
	runtime.ReadMemStats(&after)
	if err := b.report.rates(measure, "/s", rates, l); err != nil {
		return err
	}
	if err := b.report.value("allocations_per_"+each, "", float64(after.Mallocs-before.Mallocs)/float64(count), l); err != nil {
		return err
	}
	return b.report.value("bytes_per_"+each, "B", float64(after.TotalAlloc-before.TotalAlloc)/float64(count), l)
}

// processor is the time that this process has had of it.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// plain is a made-up planet, for what depends on numbers only by their count.
type plain struct {
	names []string
	x, y  []float64
}

func plane(n int) plain {
	rnd := rand.New(rand.NewPCG(7, uint64(n)))
	var w plain
	for i := range n {
		w.names = append(w.names, fmt.Sprintf("site-%03d", i))
		w.x, w.y = append(w.x, rnd.Float64()*200), append(w.y, rnd.Float64()*100)
	}
	return w
}

func (w plain) between(a, b int) (float64, float64) {
	return 2 + math.Hypot(w.x[a]-w.x[b], w.y[a]-w.y[b]), 4
}

// from is the way of a person in the middle.
func (w plain) from(site int) float64 { return 10 + math.Hypot(w.x[site]-100, w.y[site]-50) }
