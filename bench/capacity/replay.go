package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// site is what is the same in all replays.
type site struct {
	seats         int
	ready, length time.Duration
	price         float64
	wait, hold    string
	max           int // nodes
	seed          uint64
	scale         float64 // of the people who come
	warm          int     // idle seats that are kept
	// longest gives people the seat that is idle longest, and not one on the fullest node.
	longest bool
}

const (
	evaluate = 15 * time.Second
	notice   = 2 * time.Minute // of the cloud, before it takes a node back
	// emptyEvery is the least time between two nodes that idle seats leave, and for which they were idle.
	emptyEvery = 30 * time.Second
	wholeDay   = 24 * time.Hour
)

// policy says how many nodes there are to be.
type policy interface {
	// nodes is asked each 15 s.
	nodes(w *world) (int, error)
}

type node struct {
	ready  time.Time
	ends   time.Time // the cloud takes it back then; zero if not
	people []*person
	idle   []time.Time // since when its idle seats are, the longest first
}

type person struct {
	came   time.Time
	ends   time.Time
	length time.Duration
	waited bool
}

// world is a site in the middle of a day.
type world struct {
	site
	now      time.Time
	alive    []*node // requested and not ended
	queue    []*person
	arrivals []time.Time // of the last ten minutes
	// As brains count: seconds that people played, and sessions that ended, of the last hour or so.
	played, over float64
	ended        int       // sessions that ended with nodes that the policy removed
	finished     int       // people who have played
	emptied      time.Time // when idle seats left a node last
}

// count is the desired capacity of the group: a node that the cloud takes back has been replaced.
func (w *world) count() (n int) {
	for _, one := range w.alive {
		if one.ends.IsZero() {
			n++
		}
	}
	return n
}

func (w *world) busy() (n int) {
	for _, one := range w.alive {
		n += len(one.people)
	}
	return n
}

func (w *world) idle() (n int) {
	for _, one := range w.alive {
		n += len(one.idle)
	}
	return n
}

func (w *world) takes(n *node) bool { return !n.ready.After(w.now) && n.ends.IsZero() }

// room is the fullest node that has room, as Nomad chooses.
func (w *world) room() (best *node) {
	for _, n := range w.alive {
		used := len(n.people) + len(n.idle)
		if w.takes(n) && used < w.seats && (best == nil || used > len(best.people)+len(best.idle)) {
			best = n
		}
	}
	return best
}

// ofIdle is the node whose idle seat the next person gets, as brains choose.
func (w *world) ofIdle() (best *node) {
	for _, n := range w.alive {
		if !w.takes(n) || len(n.idle) == 0 {
			continue
		}
		switch {
		case best == nil, !w.longest && len(n.people) > len(best.people):
			best = n
		case (w.longest || len(n.people) == len(best.people)) && n.idle[0].Before(best.idle[0]):
			best = n
		}
	}
	return best
}

// place gives a person an idle seat, or a new one.
func (w *world) place(p *person) bool {
	best := w.ofIdle()
	if best != nil {
		best.idle = best.idle[1:]
	} else if best = w.room(); best == nil {
		return false
	}
	p.ends = w.now.Add(p.length)
	best.people = append(best.people, p)
	return true
}

// keepWarm starts idle seats.
func (w *world) keepWarm() {
	for missing := w.warm - w.idle(); missing > 0; missing-- {
		n := w.room()
		if n == nil {
			return
		}
		n.idle = append(n.idle, w.now)
	}
}

// empty has idle seats leave a node on which nobody plays, as the leading brain does where there are to
// be fewer nodes.
func (w *world) empty(want int) {
	var best *node
	used := 0
	for _, n := range w.alive {
		if len(n.people)+len(n.idle) == 0 {
			continue
		}
		used++
		if w.takes(n) && len(n.people) == 0 && w.now.Sub(n.idle[len(n.idle)-1]) >= emptyEvery && (best == nil || len(n.idle) < len(best.idle)) {
			best = n
		}
	}
	if best != nil && used > max(1, want) && w.now.Sub(w.emptied) >= emptyEvery {
		best.idle, w.emptied = nil, w.now
		w.keepWarm() // elsewhere: this one is the emptiest now
	}
}

// scale requests nodes, and ends empty ones, as the target aws-asg does.
func (w *world) scale(want int) {
	want = min(want, w.max)
	if w.count() > want {
		w.empty(want)
	}
	for have := w.count(); have < want; have++ {
		w.alive = append(w.alive, &node{ready: w.now.Add(w.ready)})
	}
	for _, n := range w.empties(w.count() - want) {
		w.end(n)
	}
}

// empties are up to some nodes that the target removes, the newest first.
func (w *world) empties(most int) (out []*node) {
	for _, n := range slices.Backward(w.alive) {
		if len(out) >= most {
			break
		}
		if n.ends.IsZero() && len(n.people)+len(n.idle) == 0 && !n.ready.After(w.now) {
			out = append(out, n)
		}
	}
	return out
}

// end ends a node because the policy wants fewer, and counts the sessions that end with it.
func (w *world) end(n *node) {
	w.ended += len(n.people)
	w.alive = slices.DeleteFunc(w.alive, func(other *node) bool { return other == n })
}

// point is a moment of a day, for the picture.
type point struct {
	busy, queued, nodes int
	hours               float64
}

type result struct {
	people int
	waits  []float64 // seconds
	hours  float64
	most   int
	ended  int     // sessions that ended with nodes that the policy removed
	began  int     // nodes at the start of a replay with real servers
	kept   int     // people who have played, play or wait at the end
	points []point // one a minute
	failed error   // why the policy gave no number
}

// replay plays a day, a second at a time. The people who come, and how long they stay, are the
// same for every policy.
func replay(s site, d day, p policy) (r result) {
	came, stay := rand.New(rand.NewPCG(s.seed, 1)), rand.New(rand.NewPCG(s.seed, 2))
	chosen := rand.New(rand.NewPCG(s.seed, 3))
	start := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) // a Monday
	w := &world{site: s, now: start}
	for second := range int(wholeDay / time.Second) {
		w.now = start.Add(time.Duration(second) * time.Second)
		w.endSessions()
		for _, c := range d.cuts {
			if second == int(c.minute*60) {
				w.takeBack(c.share, chosen)
			}
		}
		for n := poisson(came, s.scale*d.rate(float64(second)/60)/60); n > 0; n-- {
			// The mean of exp of a normal variable with the deviation 1 is exp(1/2).
			length := time.Duration(math.Exp(stay.NormFloat64()-.5) * float64(s.length))
			w.arrivals = append(w.arrivals, w.now)
			w.queue = append(w.queue, &person{came: w.now, length: max(length, time.Second)})
			r.people++
		}
		for len(w.queue) > 0 && w.place(w.queue[0]) {
			if q := w.queue[0]; q.waited {
				r.waits = append(r.waits, w.now.Sub(q.came).Seconds())
			}
			w.queue = w.queue[1:]
		}
		w.keepWarm()
		for _, q := range w.queue {
			q.waited = true
		}
		if w.now.Sub(start)%evaluate == 0 {
			for len(w.arrivals) > 0 && w.now.Sub(w.arrivals[0]) > 10*time.Minute {
				w.arrivals = w.arrivals[1:]
			}
			want, err := p.nodes(w)
			if err != nil {
				r.failed = err
				return r
			}
			w.scale(want)
		}
		r.hours += float64(len(w.alive)) / 3600
		r.most = max(r.most, len(w.alive))
		if second%60 == 0 {
			r.points = append(r.points, point{w.busy(), len(w.queue), len(w.alive), r.hours})
		}
	}
	r.ended, r.kept = w.ended, w.finished+w.busy()+len(w.queue)
	for _, q := range w.queue {
		r.waits = append(r.waits, w.now.Sub(q.came).Seconds())
	}
	return r
}

// endSessions ends the sessions whose time has come, and the nodes that the cloud takes back,
// whose people come again at once.
func (w *world) endSessions() {
	left := math.Exp(-1. / 3600)
	w.played, w.over = w.played*left+float64(w.busy()), w.over*left
	for _, n := range w.alive {
		n.people = slices.DeleteFunc(n.people, func(p *person) bool {
			if p.ends.After(w.now) {
				return false
			}
			w.over++
			w.finished++
			return true
		})
		if !n.ends.IsZero() && !n.ends.After(w.now) {
			for _, p := range n.people {
				w.arrivals = append(w.arrivals, w.now)
				w.queue = append(w.queue, &person{came: w.now, length: p.ends.Sub(w.now)})
			}
			n.people = nil
		}
	}
	w.alive = slices.DeleteFunc(w.alive, func(n *node) bool { return !n.ends.IsZero() && !n.ends.After(w.now) })
}

// takeBack has the cloud say that it takes back some nodes. The group requests others at once.
func (w *world) takeBack(share float64, r *rand.Rand) {
	for _, n := range slices.Clone(w.alive) {
		if n.ends.IsZero() && r.Float64() < share {
			n.ends, n.idle = w.now.Add(notice), nil // it drains
			w.alive = append(w.alive, &node{ready: w.now.Add(w.ready)})
		}
	}
}

// poisson is how many come in a time in which mean are expected.
func poisson(r *rand.Rand, mean float64) (n int) {
	for left := r.ExpFloat64(); left < mean; left += r.ExpFloat64() {
		n++
	}
	return n
}
