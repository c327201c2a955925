package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// crowd is the people of one policy. Each has a seat that is a real allocation: a dispatch of
// the pool's job, as the brain makes them, which Nomad places, or blocks where no node has room.
type crowd struct {
	*live
	pool string

	mu      sync.Mutex
	players map[string]*player // by the id of their job
	came    []time.Time        // of the last ten minutes of the day
	counted int                // who came while it is measured
	began   time.Time          // the brain has counted who comes since then
	// As brains count, in the day's time.
	played, over float64
	asked        time.Time
	ended        int // sessions that Nomad ended on nodes that the policy removed
	failures     []error
}

// player is a person with one seat, or without one yet.
type player struct {
	came    time.Time
	length  time.Duration
	counted bool
	again   bool // the cloud took the node of the seat before
	blocked bool // Nomad had no node for the seat

	node                   string
	placed, started, ended time.Time
	lost                   bool // the seat ends by the cloud
}

func newCrowd(l *live, pool string) *crowd {
	return &crowd{live: l, pool: pool, players: map[string]*player{}}
}

// player is the one of a job. Events may come before the answer to the dispatch. mu is held.
func (c *crowd) player(job string) *player {
	p := c.players[job]
	if p == nil {
		p = &player{}
		c.players[job] = p
	}
	return p
}

// add has a person come, who stays for a time once they have a seat. Those who are there from the
// start are no arrivals.
func (c *crowd) add(ctx context.Context, length time.Duration, first, again bool) {
	now := time.Now()
	c.mu.Lock()
	if !first {
		c.came = append(c.came, now)
	}
	c.mu.Unlock()
	answer, _, err := c.nomad.Jobs().Dispatch(c.pool, map[string]string{"seconds": strconv.FormatFloat(length.Seconds(), 'f', 2, 64)}, nil, "",
		(&api.WriteOptions{}).WithContext(ctx))
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			c.failures = append(c.failures, fmt.Errorf("dispatch a seat: %w", err))
		}
		return
	}
	p := c.player(answer.DispatchedJobID)
	p.came, p.length, p.again = now, length, again
	p.counted = !c.measured.IsZero() && !now.Before(c.measured)
	if p.counted && !again {
		c.counted++
	}
}

// blocked notes that Nomad has no node for a seat.
func (c *crowd) blocked(job string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.player(job).blocked = true
}

// placed notes what became of a seat.
func (c *crowd) placed(a *api.Allocation) {
	taken := c.takes(a.NodeID)
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.player(a.JobID)
	p.node = a.NodeID
	if p.placed.IsZero() {
		p.placed = time.Unix(0, a.CreateTime)
	}
	switch a.ClientStatus {
	case api.AllocClientStatusRunning:
		if p.started.IsZero() {
			p.started = time.Now()
		}
	case api.AllocClientStatusPending:
	default:
		if p.ended.IsZero() {
			p.ended = time.Now()
			c.over++
			if killed(a) && !p.lost && !taken {
				c.ended++
			}
			if a.ClientStatus == api.AllocClientStatusFailed && !p.lost {
				c.failures = append(c.failures, fmt.Errorf("the seat %s failed: %s", a.ID, a.ClientDescription))
			}
		}
	}
}

// killed reports whether Nomad ended a seat that was still in use: one whose time is over ends by itself.
func killed(a *api.Allocation) bool {
	for _, task := range a.TaskStates {
		for _, e := range task.Events {
			if e.Type == api.TaskKilling {
				return true
			}
		}
	}
	return false
}

// takes reports whether the cloud takes a node back.
func (l *live) takes(node string) bool {
	for _, g := range l.groups {
		g.mu.Lock()
		for _, i := range g.instances {
			if i.node == node && !i.takenBack.IsZero() {
				g.mu.Unlock()
				return true
			}
		}
		g.mu.Unlock()
	}
	return false
}

// lose has the people of a node come again, whose sessions end with it.
func (c *crowd) lose(ctx context.Context, node string) {
	c.mu.Lock()
	var left []time.Duration
	var jobs []string
	for job, p := range c.players {
		if p.node == node && p.ended.IsZero() && !p.lost {
			p.lost = true
			rest := p.length
			if !p.started.IsZero() {
				rest -= time.Since(p.started)
			}
			jobs = append(jobs, job)
			if rest > 0 {
				left = append(left, rest)
			}
		}
	}
	c.mu.Unlock()
	for _, job := range jobs {
		c.nomad.Jobs().Deregister(job, false, nil)
	}
	for _, rest := range left {
		c.add(ctx, rest, false, true)
	}
}

// gone is an error while a node has seats that run.
func (c *crowd) gone(node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for job, p := range c.players {
		if p.node == node && p.ended.IsZero() {
			return fmt.Errorf("the seat %s runs", job)
		}
	}
	return nil
}

// now counts the people with and without a seat. mu is held.
func (c *crowd) now() (busy, queued, blocked int) {
	for _, p := range c.players {
		switch {
		case p.came.IsZero() || !p.ended.IsZero() || p.lost:
		case !p.placed.IsZero():
			busy++
		default:
			queued++
			if p.blocked {
				blocked++
			}
		}
	}
	return busy, queued, blocked
}

// demand is what a brain would say of these people. Times are those of the day.
func (c *crowd) demand() wire.AppDemand {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	d := wire.AppDemand{App: "app", Pool: c.pool, Max: 1000}
	d.Busy, d.Queued, d.Blocked = c.now()
	if !c.asked.IsZero() {
		passed := c.day(now.Sub(c.asked)).Seconds()
		stays := math.Exp(-passed / 3600)
		c.played, c.over = c.played*stays+float64(d.Busy)*passed, c.over*stays
	}
	c.asked = now
	for len(c.came) > 0 && c.day(now.Sub(c.came[0])) > 10*time.Minute {
		c.came = c.came[1:]
	}
	for _, window := range []time.Duration{2 * time.Minute, 10 * time.Minute} {
		over := window
		if !c.began.IsZero() {
			over = min(window, max(time.Second, c.day(now.Sub(c.began))))
		}
		a := wire.Arrivals{WindowMS: over.Milliseconds()}
		for _, at := range c.came {
			if c.day(now.Sub(at)) < window {
				a.Count++
			}
		}
		d.Arrivals = append(d.Arrivals, a)
	}
	d.Played, d.Ended = int64(1000*c.played), c.over
	return d
}

// waits are how long those waited who found no node, in seconds of the day.
func (c *crowd) waits() (waits []float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.players {
		if !p.blocked || !p.counted {
			continue
		}
		until := p.placed
		if until.IsZero() {
			until = time.Now()
		}
		waits = append(waits, c.day(until.Sub(p.came)).Seconds())
	}
	return waits
}

// follow takes Nomad's events to the crowds.
func (l *live) follow(ctx context.Context) error {
	events, err := l.nomad.EventStream().Stream(ctx, map[api.Topic][]string{api.TopicAllocation: {"*"}, api.TopicEvaluation: {"*"}}, 0, &api.QueryOptions{})
	if err != nil {
		return fmt.Errorf("follow Nomad's events: %w", err)
	}
	l.all.Go(func() {
		for batch := range events {
			if batch.Err != nil {
				if ctx.Err() == nil {
					l.fail(fmt.Errorf("follow Nomad's events: %w", batch.Err))
				}
				return
			}
			for _, e := range batch.Events {
				l.take(e)
			}
		}
	})
	return nil
}

func (l *live) take(e api.Event) {
	switch e.Topic {
	case api.TopicAllocation:
		if a, err := e.Allocation(); err == nil && a != nil {
			if c := l.crowdOf(a.JobID); c != nil {
				c.placed(a)
			}
		}
	case api.TopicEvaluation:
		if v, err := e.Evaluation(); err == nil && v != nil && v.Status == "blocked" {
			if c := l.crowdOf(v.JobID); c != nil {
				c.blocked(v.JobID)
			}
		}
	}
}
