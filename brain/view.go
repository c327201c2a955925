package brain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// view is what Consul and Nomad say, put together. It is guarded by Broker.mu.
type view struct {
	jobs       Jobs
	seats      map[string]wire.Seat
	jobsKnown  bool
	seatsKnown bool

	// Of each seat since it was first seen until Nomad has forgotten its job:
	lives map[string]*life // by alloc
	// What this replica dispatched and Nomad's events have not shown yet, by token.
	underway map[string]dispatched
	failures map[string]*backOff   // by app
	cold     map[string]*durations // dispatch → idle, by app
	length   map[string]*durations // of sessions, by app
}

// life is what a seat's record of the moment does not say.
type life struct {
	last      wire.Seat // as it was seen last
	present   bool      // is in Consul now
	ready     bool      // was idle once
	busySince time.Time
	// unwanted is the Since of the state in which the seat turned a claim of
	// ours down, or took it: it is not offered again before its state changes.
	unwanted time.Time
	// unreachable is when the seat did not answer.
	unreachable time.Time
	reserved    bool // offered to one of ours this moment
	retiring    time.Time
}

type dispatched struct {
	app, child string
	version    uint64
	at         time.Time
}

func newView() *view {
	return &view{
		seats: map[string]wire.Seat{}, lives: map[string]*life{}, underway: map[string]dispatched{},
		failures: map[string]*backOff{}, cold: map[string]*durations{}, length: map[string]*durations{},
	}
}

func (v *view) known() bool { return v.jobsKnown && v.seatsKnown }

// versionOf is the app's version a child was dispatched from: it is in the
// child's id, which nobody can get wrong.
func versionOf(child string) (uint64, bool) {
	_, rest, ok := strings.Cut(child, "/dispatch-v")
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

func seatVersion(s wire.Seat) uint64 {
	if n, ok := versionOf(s.Job); ok {
		return n
	}
	return s.Version
}

// setSeats takes what Consul says.
func (v *view) setSeats(list []wire.Seat, now time.Time) {
	v.seatsKnown = true
	for _, l := range v.lives {
		l.present = false
	}
	v.seats = make(map[string]wire.Seat, len(list))
	for _, s := range list {
		v.seats[s.ID] = s
		l := v.lives[s.ID]
		if l == nil {
			l = &life{}
			v.lives[s.ID] = l
		}
		if s.State == wire.SeatIdle && !l.ready {
			l.ready = true
			if child, ok := v.jobs.Children[s.Job]; ok && s.Since.After(child.Created) && v.jobsKnown {
				sample(v.cold, s.App, s.Since.Sub(child.Created))
			}
		}
		if s.State.Busy() {
			l.ready = true
			if l.busySince.IsZero() {
				l.busySince = s.Since
			}
			delete(v.failures, s.App)
		} else if s.State == wire.SeatIdle {
			l.busySince = time.Time{}
		}
		l.last, l.present = s, true
	}
	v.forget()
}

// setJobs takes what Nomad says, and gives the children that have died since.
func (v *view) setJobs(jobs Jobs, now time.Time) (died []Child) {
	before, known := v.jobs.Children, v.jobsKnown
	v.jobs, v.jobsKnown = jobs, true
	for token, d := range v.underway {
		if _, ok := jobs.Children[d.child]; ok {
			delete(v.underway, token)
			if _, seen := before[d.child]; !seen && jobs.Children[d.child].State == ChildDead {
				died = append(died, jobs.Children[d.child]) // dispatched and dead between two looks
			}
		}
	}
	for id, child := range before {
		if now, ok := jobs.Children[id]; ok && known && child.State != ChildDead && now.State == ChildDead {
			died = append(died, now)
		}
	}
	for _, child := range died {
		if l := v.lives[child.Alloc]; l != nil && !l.busySince.IsZero() {
			sample(v.length, child.App, now.Sub(l.busySince))
		}
	}
	v.forget()
	return died
}

// forget drops what neither Consul nor Nomad has any more.
func (v *view) forget() {
	if !v.known() {
		return
	}
	for alloc, l := range v.lives {
		if _, ok := v.jobs.Children[l.last.Job]; !ok && !l.present {
			delete(v.lives, alloc)
		}
	}
}

// live gives the seat unless Nomad knows that it is dead.
func (v *view) live(s wire.Seat) bool {
	child, ok := v.jobs.Children[s.Job]
	return !ok || child.State != ChildDead
}

// freeSeats are the seats that may be offered now, the newest version first,
// then those that have been idle longest.
func (v *view) freeSeats(app string, now time.Time) []wire.Seat {
	var out []wire.Seat
	for id, s := range v.seats {
		l := v.lives[id]
		if s.App == app && s.State.Free() && v.live(s) && !l.reserved && !l.unwanted.Equal(s.Since) &&
			now.Sub(l.unreachable) > 5*time.Second && now.Sub(l.retiring) > 5*time.Second {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b wire.Seat) int {
		return cmp.Or(cmp.Compare(seatVersion(b), seatVersion(a)), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// coming is a seat on its way.
type coming struct {
	child    string
	token    string
	since    time.Time
	progress wire.Progress
}

// tally is all an app's seats and children, counted and listed.
type tally struct {
	counts
	idleSeats []idleSeat
	coming    []coming // counts.starting of them, the furthest first
	blocked   []Child
	allComing int
}

// tally counts an app's room. mine says whether a dispatch's token belongs to
// this replica's people; a token of nobody is the pool's.
func (v *view) tally(app App, mine func(token string) bool, now time.Time) tally {
	var t tally
	present := map[string]bool{} // child ids that have a seat in Consul
	add := func(c coming) {
		if strings.HasPrefix(c.token, poolToken) || mine(c.token) {
			t.starting++
			t.coming = append(t.coming, c)
		} else {
			t.foreign++
		}
	}
	for id, s := range v.seats {
		if s.App != app.ID || !v.live(s) {
			continue
		}
		present[s.Job] = true
		l := v.lives[id]
		switch {
		case s.State == wire.SeatStarting:
			child := v.jobs.Children[s.Job]
			if child.Created.IsZero() {
				child.Created = s.Since
			}
			add(coming{child: s.Job, token: child.Token, since: child.Created, progress: s.Progress})
		case s.State.Busy(), s.State.Free() && l.unwanted.Equal(s.Since):
			t.busy++ // or somebody has it, and Consul will say so in a moment
		case s.State.Free() && now.Sub(l.retiring) <= 5*time.Second:
			t.ending++
		case s.State.Free():
			old := seatVersion(s) < app.Version
			if old {
				t.old++
			} else {
				t.idle++
			}
			t.idleSeats = append(t.idleSeats, idleSeat{id: id, old: old, age: now.Sub(s.Since)})
		default:
			t.ending++
		}
	}
	placing := wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}
	for id, child := range v.jobs.Children {
		if child.App != app.ID || child.State == ChildDead || present[id] {
			continue
		}
		switch l := v.lives[child.Alloc]; {
		case l != nil && l.last.State != wire.SeatStarting:
			t.ending++ // was a seat and is silent now
		case child.State == ChildBlocked:
			t.counts.blocked++
			t.blocked = append(t.blocked, child)
		default:
			add(coming{child: id, token: child.Token, since: child.Created, progress: placing})
		}
	}
	for token, d := range v.underway {
		if d.app == app.ID {
			add(coming{child: d.child, token: token, since: d.at, progress: placing})
		}
	}
	t.allComing = t.starting + t.foreign
	slices.SortFunc(t.coming, func(a, b coming) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.token, b.token))
	})
	slices.SortFunc(t.idleSeats, func(a, b idleSeat) int {
		return cmp.Or(cmp.Compare(b.age, a.age), cmp.Compare(a.id, b.id))
	})
	return t
}

// durations is the last few of something measured.
type durations struct {
	last [32]time.Duration
	n    int
}

func sample(m map[string]*durations, app string, d time.Duration) {
	if m[app] == nil {
		m[app] = &durations{}
	}
	m[app].last[m[app].n%len(durations{}.last)] = d
	m[app].n++
}

// median is zero while nothing was measured.
func (d *durations) median() time.Duration {
	if d == nil || d.n == 0 {
		return 0
	}
	s := slices.Clone(d.last[:min(d.n, len(d.last))])
	slices.Sort(s)
	return s[len(s)/2]
}
