package brain

import (
	"time"
)

// surplusAge is how long a seat stays idle beyond the warm target before it is
// retired: the person it was dispatched for may be on her way to another brain.
const surplusAge = 30 * time.Second

// counts is an app's room as plain numbers.
type counts struct {
	idle     int // ready, of the app's present version
	old      int // ready, of another version
	starting int // on the way for the pool or for this replica's people
	foreign  int // on the way for other replicas' people
	blocked  int // dispatched, and no node can take it
	busy     int
	ending   int // or silent: it holds its place until Nomad says that it is gone
}

func (c counts) total() int {
	return c.idle + c.old + c.starting + c.foreign + c.blocked + c.busy + c.ending
}

// idleSeat is a seat that plan may retire.
type idleSeat struct {
	id  string
	old bool
	age time.Duration // since it became idle
}

// demand is all that plan looks at.
type demand struct {
	warm, max   int
	counts      counts
	idle        []idleSeat // counts.idle + counts.old of them
	waiting     int        // this replica's people without a seat, whom a seat of the present version serves
	strict      int        // those of them whom no other version serves
	leading     bool       // this replica keeps the pool
	unpublished bool       // the app is no longer published
	backOff     bool       // seats fail to start; not now
	unproven    bool       // seats failed to start, and none has shown since that they do now
}

// move is what to do next.
type move struct {
	people int // seats to dispatch for waiting people
	pool   int // seats to dispatch ahead of need
	retire []string
}

// plan says what an app's pool needs. It is called again at each change, so it
// need not look ahead.
func plan(d demand) move {
	var m move
	c := d.counts
	if d.leading {
		m.retire = surplus(d)
	}
	// A child that no node takes says that the site is full: more would only
	// stand in line behind it.
	if d.unpublished || d.backOff || c.blocked > 0 {
		return m
	}
	room := max(0, d.max-c.total())
	if d.unproven {
		// One is enough to find out. It is everybody's: who waits longest has it.
		if c.starting+c.foreign > 0 {
			return m
		}
		room = min(room, 1)
	}
	m.people = min(room, max(0, d.waiting-c.idle-d.oldServe()-c.starting))
	if d.leading {
		// What waits will take what is ready; the pool is what is left then.
		// Old seats that serve nobody are about to go.
		have := c.idle + d.oldServe() + c.starting + c.foreign + m.people
		m.pool = min(room-m.people, max(0, d.warm+d.waiting-have))
	}
	return m
}

// oldServe is how many idle seats of other versions waiting people would take,
// after those of the present version are gone.
func (d demand) oldServe() int {
	loose := d.waiting - d.strict
	return min(d.counts.old, max(0, loose-max(0, d.counts.idle-d.strict)))
}

// surplus chooses the idle seats that nobody needs, never one that a waiting
// person could have.
func surplus(d demand) []string {
	var out []string
	take := func(n int, want func(idleSeat) bool) {
		for _, s := range d.idle {
			if n <= 0 {
				return
			}
			if want(s) {
				out = append(out, s.id)
				n--
			}
		}
	}
	serve := d.oldServe()
	spare := max(0, d.counts.idle-(d.waiting-serve)) // of the present version
	take(d.counts.old-serve, func(s idleSeat) bool { return s.old })
	current := func(s idleSeat) bool { return !s.old }
	if d.unpublished {
		take(spare, current)
		return out
	}
	if over := d.counts.total() - len(out) - d.max; over > 0 {
		take(min(over, spare), current)
		return out // the rest is below the limit again
	}
	take(min(spare, d.counts.idle-d.warm-d.waiting), func(s idleSeat) bool { return !s.old && s.age >= surplusAge })
	return out
}
