package brain

import (
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
)

// surplusAge is how long a seat stays idle beyond the warm target before it is
// retired: its person may be on the way to another brain.
const surplusAge = 30 * time.Second

// counts is how many seats of an app there are, by state.
type counts struct {
	idle     int // ready, of the app's current version
	old      int // ready, of another version
	starting int // on the way for the pool or for people of this replica
	foreign  int // on the way for people of other replicas
	blocked  int // dispatched, and no node can take it
	busy     int
	ending   int // or unreachable: it counts against max until Nomad says that it is dead
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

// demand is everything that plan looks at.
type demand struct {
	warm, max   int
	counts      counts
	idle        []idleSeat // counts.idle + counts.old of them
	waiting     int        // people of this replica without a seat that a seat of the current version serves
	strict      int        // those of them that no other version serves
	leading     bool       // this replica is the leader
	unpublished bool       // the app is no longer published
	backOff     bool       // seats fail to start, and the next try is later
	moving      int        // seats that were retired for their nodes and are not dead yet
	unproven    bool       // seats failed to start, and no seat has shown since that they start now
	unknown     bool       // Nomad did not know the app when a seat was dispatched last

	// What fetches may be stopped; see onTheWay.
	version uint64 // the current one
	coming  []onTheWay
	asked   []uint64
}

// move is what to do next.
type move struct {
	people int // seats to dispatch for people that wait
	pool   int // seats to dispatch ahead of need
	retire []string
	// unwanted are seats on their way that nobody needs, and stop those whose fetch is to be stopped.
	unwanted, stop []string
}

// warmth is what the number of warm seats of an app with warm = "auto" follows from.
type warmth struct {
	wait  float64 // the share of people that may wait for a seat to start
	max   int
	begun []sizing.Window // sessions that began of late, at the whole site
	start time.Duration   // time from dispatch to idle; 0 while nobody knows
}

// firstStart is how long a seat takes to start before one was measured.
const firstStart = 10 * time.Second

// warmHold is how long the number of warm seats stays before it falls: people come by chance,
// and to start and retire seats for that helps nobody.
const warmHold = 5 * time.Minute

// seats is how many idle seats an app with warm = "auto" needs: as many as are taken while one
// starts, but for the share that may wait.
func (w warmth) seats() int {
	start := w.start
	if start <= 0 {
		start = firstStart
	}
	return min(w.max, sizing.WarmFor(w.begun, start, w.wait))
}

// plan says what an app's pool needs. It is called again at each change, so it
// does not look ahead.
func plan(d demand) move {
	var m move
	c := d.counts
	if d.leading {
		m.retire = surplus(d)
	}
	m.unwanted, m.stop = d.unwanted()
	// A blocked child shows that the site is full. More children would only wait
	// behind it.
	if d.unpublished || d.backOff || c.blocked > 0 {
		return m
	}
	free := max(0, d.max-c.total())
	if d.unproven {
		// One seat is enough to find out. It goes to the person that waits longest.
		if c.starting+c.foreign > 0 {
			return m
		}
		free = min(free, 1)
	}
	if d.unknown {
		free = min(free, 1)
	}
	m.people = min(free, max(0, d.waiting-c.idle-d.oldServe()-c.starting))
	if d.leading {
		// The people that wait take the ready seats; the pool has the rest. Old
		// seats that serve nobody are about to be retired.
		have := c.idle + d.oldServe() + c.starting + c.foreign + m.people + d.moving
		m.pool = min(free-m.people, max(0, d.warm+d.waiting-have))
	}
	return m
}

// oldServe is how many idle seats of other versions the people that wait would
// take, once those of the current version are taken.
func (d demand) oldServe() int {
	loose := d.waiting - d.strict
	return min(d.counts.old, max(0, loose-max(0, d.counts.idle-d.strict)))
}

// surplus chooses the idle seats that nobody needs. It never chooses one that a
// waiting person could have.
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
	spare := max(0, d.counts.idle-(d.waiting-serve)) // of the current version
	take(d.counts.old-serve, func(s idleSeat) bool { return s.old })
	current := func(s idleSeat) bool { return !s.old }
	if d.unpublished {
		take(spare, current)
		return out
	}
	if over := d.counts.total() - len(out) - d.max; over > 0 {
		take(min(over, spare), current)
		return out // the rest is within max
	}
	take(min(spare, d.counts.idle-d.warm-d.waiting), func(s idleSeat) bool { return !s.old && s.age >= surplusAge })
	return out
}
