package main

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/autoscaler"
	"github.com/nearcast/nearcast/internal/wire"
)

// people is the strategy of nomad-autoscaler-seats, asked as the autoscaler asks it.
type people struct {
	strategy *autoscaler.Strategy
	config   map[string]string
	now      time.Time
}

func newPeople(s site, schedule string) *people {
	p := &people{strategy: autoscaler.NewStrategy(hclog.NewNullLogger()), config: map[string]string{
		"seats_per_node": fmt.Sprint(s.seats), "ready": s.ready.String(), "wait": s.wait, "hold": s.hold, "schedule": schedule}}
	p.strategy.Now = func() time.Time { return p.now }
	return p
}

func (p *people) nodes(w *world) (int, error) {
	p.now = w.now
	d := wire.AppDemand{App: "app", Pool: "stream-cpu", Busy: w.busy(), Queued: len(w.queue), Idle: w.idle(), Warm: w.warm, Max: w.max * w.seats}
	for _, window := range []time.Duration{2 * time.Minute, 10 * time.Minute} {
		a := wire.Arrivals{WindowMS: window.Milliseconds()}
		for _, at := range w.arrivals {
			if w.now.Sub(at) < window {
				a.Count++
			}
		}
		d.Arrivals = append(d.Arrivals, a)
	}
	d.Played, d.Ended = int64(1000*w.played), w.over
	metrics, err := autoscaler.Metrics([]wire.Demand{{Site: "day", Brain: "one", Known: true, Apps: []wire.AppDemand{d}}}, []string{"stream-cpu"}, w.now)
	if err != nil {
		return 0, err
	}
	eval, err := p.strategy.Run(&sdk.ScalingCheckEvaluation{
		Check:   &sdk.ScalingPolicyCheck{Name: "people", Query: "stream-cpu", Strategy: &sdk.ScalingPolicyStrategy{Config: p.config}},
		Metrics: metrics, Action: &sdk.ScalingAction{},
	}, int64(w.count()))
	if err != nil {
		return 0, err
	}
	return int(eval.Action.Count), nil
}

// floor has nodes that are ready at once, and none for people who have not come. It is no bound: another
// placement, or one that knows how long sessions last, may need fewer.
type floor struct{}

func (floor) nodes(w *world) (int, error) {
	return (w.busy() + len(w.queue) + w.seats - 1) / w.seats, nil
}

// headroom is what jobs/platform/autoscaler.nomad.hcl had before: 30 % of what the ready nodes have stays
// free (strategy target-value, threshold 5 %, one node less at a time), five minutes between two
// changes, none while a node starts or ends, and one node at least.
type headroom struct{ changed time.Time }

func newHeadroom() *headroom { return &headroom{} }

const (
	target    = .7
	threshold = .05
	cooldown  = 5 * time.Minute
)

func (h *headroom) nodes(w *world) (int, error) {
	have, ready, settled := w.count(), 0, true
	for _, n := range w.alive {
		if n.ready.After(w.now) || !n.ends.IsZero() {
			settled = false
		} else {
			ready++
		}
	}
	switch {
	case have < 1:
		return 1, nil
	case !settled, w.now.Sub(h.changed) < cooldown:
		return have, nil
	}
	// The people who wait have no seats, so they are no load. Idle seats are one.
	factor := float64(w.busy()+w.idle()) / float64(ready*w.seats) / target
	if math.Abs(factor-1) <= threshold {
		return have, nil
	}
	want := max(1, int(math.Ceil(float64(have)*factor)), have-1)
	if want != have {
		h.changed = w.now
	}
	return want, nil
}
