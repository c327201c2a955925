package main

import (
	"context"
	"sync"
	"time"
)

// crowd are people who come at a rate, whether or not those before them are served: an
// open loop.
type crowd struct {
	site *site
	rate float64 // people a second
	last time.Duration
	hold time.Duration // how long each stays after the grant
	most time.Duration // how long each waits for it
	// leaves says that they end their sessions, so that their seats end. Else they go without a
	// word, and their seats are idle again after the lease.
	leaves bool
	of     func(i int) *person

	mu     sync.Mutex
	people []*person
	due    []time.Time
}

// come makes the people come, and returns when the last has gone.
func (c *crowd) come(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	began := time.Now()
	n := int(c.rate * c.last.Seconds())
	for i := range n {
		due := began.Add(time.Duration(float64(i) / c.rate * float64(time.Second)))
		if wait := time.Until(due); wait > time.Millisecond && !pause(ctx.Done(), wait) {
			return
		}
		p := c.of(i)
		c.mu.Lock()
		c.people, c.due = append(c.people, p), append(c.due, due)
		c.mu.Unlock()
		all.Go(func() { c.visit(ctx, p) })
	}
}

// visit is one person's visit.
func (c *crowd) visit(ctx context.Context, p *person) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	bored := time.AfterFunc(c.most, func() {
		if p.view().granted.IsZero() {
			leave()
		}
	})
	defer bored.Stop()
	p.onGrant = func() {
		time.AfterFunc(c.hold, func() {
			if c.leaves {
				p.goodbye(ctx)
			} else {
				leave()
			}
		})
	}
	p.run(ctx)
}

// outcome is how the visits of a crowd went.
type outcome struct {
	come, granted, told, busy, refused, lost, late int
	latency                                        []float64 // ms from the moment when the person was due to the grant
	why                                            map[string]int
}

// outcomes looks at the visits whose grant came before a moment.
func (c *crowd) outcomes(end time.Time) outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := outcome{come: len(c.people), why: map[string]int{}}
	for i, p := range c.people {
		v := p.view()
		switch {
		case !v.granted.IsZero() && !v.granted.After(end):
			o.granted++
			o.latency = append(o.latency, ms(v.granted.Sub(c.due[i])))
		case !v.granted.IsZero():
			o.late++
		case v.state == stateRefused:
			o.refused++
			o.why[v.why]++
		case v.told > 0:
			o.told++
		case v.state == stateBusy:
			o.busy++
		default:
			o.lost++
			o.why[v.why]++
		}
	}
	return o
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
