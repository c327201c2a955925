package brain

import (
	"cmp"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// line is the people of all brains who wait for an app: first come, first served. All
// brains have the same line, but for what is on its way between them.
type line struct {
	places []*place // in order
	own    int      // places of people who wait here
	choosy int      // those of them who asked for a version
	demand lineDemand
}

// place is a person's place in a line.
type place struct {
	app     string
	first   time.Time // when their ticket was made first
	session string
	version uint64 // that they asked for; 0 is any
	w       *waiter
	// Of people who wait at another brain:
	brain   string
	aside   bool         // not in the line: they wait here, or at yet another brain
	told    wire.Waiting // what it says of them
	since   time.Time    // when it said so first
	offered string       // the seat that they are offered there
	left    time.Time    // since when a seat is left for them here
	until   time.Time    // their brain is gone, and they keep the place so long
	atMost  time.Time    // they keep it no longer, whatever crowd there is
}

const (
	// leftFor is how long a free seat is left for a person of another brain. That brain
	// offers it at once, if it sees the seat.
	leftFor = 500 * time.Millisecond
	// keptFor is how long a person keeps their place whose brain is gone. Their page
	// connects to another brain meanwhile.
	keptFor = 5 * time.Second
	// keptInACrowd is how much longer they keep it at most while more people come here than
	// can be taken in: they may stand at the door.
	keptInACrowd = 15 * time.Second
)

func before(a, b *place) int {
	return cmp.Or(a.first.Compare(b.first), cmp.Compare(a.session, b.session))
}

// find is where a person's place is, or would be.
func (l *line) find(p *place) (at int, ok bool) { return slices.BinarySearchFunc(l.places, p, before) }

func (l *line) add(p *place) {
	at, _ := l.find(p)
	l.places = slices.Insert(l.places, at, p)
	l.counts(p, 1)
}

func (l *line) remove(p *place) {
	at, _ := l.find(p)
	for ; at < len(l.places) && before(l.places[at], p) == 0; at++ {
		if l.places[at] == p {
			l.places = slices.Delete(l.places, at, at+1)
			l.counts(p, -1)
			return
		}
	}
}

func (l *line) counts(p *place, n int) {
	if p.w == nil {
		return
	}
	l.own += n
	if p.version != 0 {
		l.choosy += n
	}
}

// takes reports whether a seat of that version is what the person asked for.
func (p *place) takes(version uint64) bool { return p.version == 0 || p.version == version }

// waits reports whether the person needs a seat and is offered none.
func (p *place) waits(now time.Time) bool {
	switch {
	case p.w != nil:
		return p.w.waits()
	case !p.until.IsZero():
		return now.Before(p.until)
	}
	return p.offered == ""
}

// match is a person of this brain, and the seat that they are to be offered.
type match struct {
	w *waiter
	u *unit
}

// match gives free seats to the people of a line, in order: each gets the first seat of
// the version that they asked for. It returns the matches of this brain's people, most at
// the most. Seats of other brains' people are left to them.
func (l *line) match(free []*unit, most int, now time.Time) (out []match) {
	whole := true // free is the caller's
	for _, p := range l.places {
		if len(free) == 0 || len(out) >= most {
			return out
		}
		if !p.waits(now) {
			continue
		}
		i := slices.IndexFunc(free, func(u *unit) bool { return p.takes(u.spot.version) })
		if i < 0 {
			continue
		}
		if p.w == nil && p.until.IsZero() {
			if p.left.IsZero() {
				p.left = now
			}
			if now.Sub(p.left) > leftFor {
				continue // that brain does not see the seat, or hangs
			}
		}
		u := free[i]
		switch {
		case i == 0:
			free = free[1:]
		case whole:
			free, whole = slices.Delete(slices.Clone(free), i, i+1), false
		default:
			free = slices.Delete(free, i, i+1)
		}
		if p.w != nil {
			out = append(out, match{p.w, u})
		}
	}
	return out
}

// lineDemand is how many people of a line wait without an offer, with a good ticket.
type lineDemand struct {
	people int // of all brains
	// current are this brain's that a seat of the app's current version serves, and
	// strict are those of them that no other version serves.
	current, strict int

	at      time.Time
	version uint64
}

const (
	// A line is counted anew whenever it is looked at, while it is short, and a few times
	// a second when it is long.
	shortLine  = 256
	countEvery = 250 * time.Millisecond
)

// count counts a line for an app of a version.
func (l *line) count(version uint64, now time.Time) lineDemand {
	if l == nil {
		return lineDemand{}
	}
	d := &l.demand
	if len(l.places) > shortLine && d.version == version && now.Sub(d.at) < countEvery && !now.Before(d.at) {
		return *d
	}
	*d = lineDemand{at: now, version: version}
	for _, p := range l.places {
		if !p.waits(now) || p.w != nil && p.w.lapsed(now) {
			continue
		}
		d.people++
		if p.w == nil || !p.takes(version) {
			continue
		}
		d.current++
		if p.version != 0 {
			d.strict++
		}
	}
	return *d
}
