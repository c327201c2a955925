package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
)

// realOptions are the flags of a replay with real servers.
type realOptions struct {
	factor float64       // how much faster the day goes
	lasts  time.Duration // of the measurement, in real time
	most   int           // people at once, about
	zero   bool          // the group that follows people starts without a node
	keep   string        // folder for the logs; a temporary one if empty
	before time.Duration // of the day that is played before it is measured, with people from the start
}

// windows are where each day is measured from, in minutes: the hours in which most happens.
var windows = map[string]float64{"weekday": 16 * 60, "launch": 16*60 + 30, "spot": 18*60 + 50}

// live is one replay with real servers.
type live struct {
	site
	realOptions
	ctx      context.Context // of all that runs
	dir      string
	quiet    *slog.Logger
	all      sync.WaitGroup
	servers  []*server
	groups   []*group
	boot     time.Duration // that a Nomad client needs to start
	measured time.Time     // the measurement began

	consul, nomadAddress, nomadRPC, aws string
	nomad                               *api.Client
	streams                             func(node string) string // more of a node's configuration, by which it runs real seats; nil: "sleep" alone

	mu     sync.Mutex
	failed error
}

// real is how long something of the day takes here, and day how long something here is there.
func (o realOptions) real(d time.Duration) time.Duration {
	return time.Duration(float64(d) / o.factor)
}
func (o realOptions) day(d time.Duration) time.Duration {
	return time.Duration(float64(d) * o.factor)
}

// boots is the pause before a requested node's agent is started: by what the agent itself needs,
// it is less than a node's time to ready.
func (l *live) boots() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, l.real(l.ready)-l.boot)
}

func (l *live) learnBoot(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.boot == 0 || took < l.boot {
		l.boot = took // many that start at once take longer
	}
	l.boot += (took - l.boot) / 3
}

func (l *live) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = errors.Join(l.failed, err)
}

func (l *live) crowdOf(job string) *crowd {
	for _, g := range l.groups {
		if strings.HasPrefix(job, g.name+"/") {
			return g.crowd
		}
	}
	return nil
}

// arrival is a person who comes, at a time of the day after the replay's start.
type arrival struct{ at, length time.Duration }

// arrivals are who comes from a minute of the day on: first those who are there already.
func arrivals(s site, d day, from, scale float64, lasts time.Duration) (out []arrival) {
	came, stay := rand.New(rand.NewPCG(s.seed, 1)), rand.New(rand.NewPCG(s.seed, 2))
	length := func() time.Duration {
		return max(30*time.Second, time.Duration(math.Exp(stay.NormFloat64()-.5)*float64(s.length)))
	}
	for range int(math.Round(scale * d.rate(from) * s.length.Minutes())) {
		out = append(out, arrival{0, length()})
	}
	for second := range int(lasts / time.Second) {
		for n := poisson(came, scale*d.rate(from+float64(second)/60)/60); n > 0; n-- {
			out = append(out, arrival{time.Duration(second) * time.Second, length()})
		}
	}
	return out
}

// replayReal plays a part of a day with real servers, with both policies at once: the same people
// come to both at the same moments.
func replayReal(ctx context.Context, s site, name string, d day, o realOptions) (results map[string]result, readyIn []float64, err error) {
	from := windows[name] - o.before.Minutes()
	lasts := o.before + o.day(o.lasts)
	scale := scaleTo(s, d, from, lasts, o.most)
	l := &live{site: s, realOptions: o, quiet: quiet()}
	ctx, stop := context.WithCancel(ctx)
	l.ctx = ctx
	defer stop()
	remove, err := l.makeDir(name)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		l.end(stop)
		remove()
	}()
	people := arrivals(s, d, from, scale, lasts)
	first := 0
	for first < len(people) && people[first].at == 0 {
		first++
	}
	if err := l.start(ctx, max(1, int(math.Ceil(float64(first)/target/float64(s.seats))))); err != nil {
		return nil, nil, err
	}
	began, at := time.Now(), map[string]int{}
	l.measured = began.Add(l.real(o.before))
	for _, g := range l.groups {
		g.mu.Lock()
		g.counting, at[g.name] = l.measured, len(g.instances)
		g.mu.Unlock()
		g.crowd.mu.Lock()
		g.crowd.began = began
		g.crowd.mu.Unlock()
	}
	results = map[string]result{}
	cuts, chosen := d.cuts, rand.New(rand.NewPCG(s.seed, 3))
	tick := time.NewTicker(l.real(15 * time.Second))
	defer tick.Stop()
	points := map[string][]point{}
	for sampled := -1; ; {
		passed := l.day(time.Since(began))
		if passed >= lasts {
			break
		}
		for len(people) > 0 && people[0].at <= passed {
			one := people[0]
			people = people[1:]
			for _, g := range l.groups {
				l.all.Go(func() { g.crowd.add(ctx, l.real(one.length), one.at == 0, false) })
			}
		}
		for len(cuts) > 0 && cuts[0].minute <= from+passed.Minutes() {
			if cuts[0].minute > from {
				for _, g := range l.groups {
					g.takeBack(ctx, cuts[0].share, chosen, l.boots())
				}
			}
			cuts = cuts[1:]
		}
		if minute := int((passed - o.before).Minutes()); passed >= o.before && minute > sampled {
			for _, g := range l.groups {
				at := g.point(l)
				for len(points[g.name]) <= minute {
					points[g.name] = append(points[g.name], at)
				}
			}
			sampled = minute
		}
		if err := l.check(); err != nil {
			return nil, nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	for _, g := range l.groups {
		r := result{waits: g.crowd.waits(), hours: g.seconds() * o.factor / 3600, points: points[g.name]}
		g.crowd.mu.Lock()
		r.people, r.ended = g.crowd.counted, g.crowd.ended
		g.crowd.mu.Unlock()
		g.mu.Lock()
		r.most, r.began = g.most, at[g.name]
		readyIn = append(readyIn, g.readyIn...)
		g.mu.Unlock()
		results[g.name] = r
	}
	return results, readyIn, l.check()
}

// makeDir makes the day's folder. A server that finds the data of another replay there goes on with its nodes.
func (l *live) makeDir(day string) (remove func(), err error) {
	if l.keep == "" {
		l.dir, err = os.MkdirTemp("", "replay")
		return func() { os.RemoveAll(l.dir) }, err
	}
	if l.dir, err = filepath.Abs(filepath.Join(l.keep, day)); err != nil {
		return nil, err
	}
	if found, _ := os.ReadDir(l.dir); len(found) > 0 {
		return nil, fmt.Errorf("-keep: %s is not empty", l.dir)
	}
	return func() {}, os.MkdirAll(l.dir, 0o700)
}

// scaleTo is by how much the day's people are multiplied, so that about most play at once.
func scaleTo(s site, d day, from float64, lasts time.Duration, most int) float64 {
	high := 0.0
	for m := range int(lasts.Minutes()) {
		// Who plays at a minute came before: the mean of the rates of a session's length.
		sum := 0.0
		for back := range int(s.length.Minutes()) {
			sum += d.rate(from + float64(m-back))
		}
		high = max(high, sum)
	}
	return float64(most) / high
}

// point is what is now.
func (g *group) point(l *live) point {
	g.crowd.mu.Lock()
	busy, _, blocked := g.crowd.now()
	g.crowd.mu.Unlock()
	g.mu.Lock()
	nodes := len(g.instances)
	g.mu.Unlock()
	return point{busy: busy, queued: blocked, nodes: nodes, hours: g.seconds() * l.factor / 3600}
}
