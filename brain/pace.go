package brain

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	paceEvery = 200 * time.Millisecond
	// calmWait is how long work may wait for a processor before people are taken in more
	// slowly.
	calmWait = 25 * time.Millisecond
	// slowestPace is taken always: a brain on a busy machine must not refuse the few people
	// of a small site. Twice as many may come at once.
	slowestPace = 50
	// seatsFirst is how long the next person is kept at the door while people who are inside
	// wait for seats that are free: some come in all the time, whatever is wrong with the seats.
	seatsFirst = 200 * time.Millisecond
	// fastestPace is more than a brain can take in on any machine: there is no limit.
	fastestPace = 20_000
)

// pace is how many people a second are taken in: as many as leave the processor to those who
// are there already, and hardly any while many of those wait for seats that are free. Without
// it, a brain that gets ten times what it can serve spends its time on welcoming people, and
// grants few seats. Those beyond it wait in guard's lobby, are cut before anything was read of
// them, or are dropped by the kernel, and come back with the same place (see "The queue").
type pace struct {
	limit  *rate.Limiter
	taken  atomic.Int64 // since the last step
	behind func() bool  // people who are inside wait for seats that are free
}

func newPace(behind func() bool) *pace {
	return &pace{limit: rate.NewLimiter(fastestPace, fastestPace/10), behind: behind}
}

// Wait waits until the next person may be taken in.
func (p *pace) Wait(ctx context.Context) error {
	p.taken.Add(1)
	for began := time.Now(); p.behind() && time.Since(began) < seatsFirst; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return p.limit.Wait(ctx)
}

// follow adapts the pace to how long work waits, until ctx ends.
func (p *pace) follow(ctx context.Context) {
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	waited, last := newWaits(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		p.step(waited.typical(), float64(p.taken.Swap(0))/now.Sub(last).Seconds())
		last = now
	}
}

// step sets the next pace, given how long work waited, and how many people a second were taken
// in meanwhile.
func (p *pace) step(wait time.Duration, came float64) {
	now := float64(p.limit.Limit())
	next := min(fastestPace, now*1.2)
	if wait > calmWait {
		next = max(slowestPace, 0.85*min(now, came))
	}
	if next == now {
		return
	}
	p.limit.SetLimit(rate.Limit(next))
	p.limit.SetBurst(max(2*slowestPace, int(next/10)))
}
