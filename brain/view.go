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

	looked time.Time // when Nomad was heard last

	// Of each seat since it was first seen until Nomad has forgotten its job:
	lives map[string]*life // by alloc
	// Of each child that Nomad knows.
	births map[string]*birth // by child
	// What this replica dispatched and Nomad's events have not shown yet, by token.
	underway map[string]dispatched
	// The tokens of this replica's dispatches, until their children are dead: so
	// that a child is not nobody's when the person it was meant for has left.
	sent     map[string]time.Time
	failures map[string]*backOff   // by app
	cold     map[string]*durations // dispatch → idle, by app
	length   map[string]*durations // of sessions, by app
}

// life is what a seat's record of the moment does not say. Its times are by this
// process's clock: a seat's node may have another.
type life struct {
	last    wire.Seat // as it was seen last
	present bool      // is in Consul now
	since   time.Time // its state was first seen
	ready   time.Time // it was first seen idle or busy
	// busySince is zero unless it serves, or died serving.
	busySince time.Time
	// unwanted is the Since of the state in which the seat turned a claim of
	// ours down, or took it: it is not offered again before its state changes.
	unwanted   time.Time
	unwantedAt time.Time
	// unreachable is when the seat did not answer.
	unreachable time.Time
	reserved    bool // offered to one of ours this moment
	retiring    time.Time
}

// taken reports whether somebody has the seat although Consul still calls it
// free. If Consul goes on saying so for long, it is right.
func (l *life) taken(now time.Time) bool {
	return l.unwanted.Equal(l.last.Since) && now.Sub(l.unwantedAt) < takenFor
}

// silent reports whether the seat gave no answer a moment ago.
func (l *life) silent(now time.Time) bool { return now.Sub(l.unreachable) <= pauseFor }

func (l *life) isRetiring(now time.Time) bool { return now.Sub(l.retiring) <= pauseFor }

const (
	// pauseFor is how long a seat is left alone that did not answer, or was
	// asked to retire.
	pauseFor = 5 * time.Second
	// takenFor is how long a seat that turned us down is believed to be taken
	// against Consul's word.
	takenFor = 30 * time.Second
)

// birth is when a child came into view.
type birth struct {
	// seen is zero where it was there before this process.
	seen     time.Time
	blocked  time.Time // since when no node takes it
	stopping time.Time // when it was asked to stop
}

type dispatched struct {
	app, child string
	at         time.Time
	asked      time.Time // when Nomad's servers were asked what became of it
}

func newView() *view {
	return &view{
		seats: map[string]wire.Seat{}, lives: map[string]*life{}, births: map[string]*birth{},
		underway: map[string]dispatched{}, sent: map[string]time.Time{},
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
	first := !v.seatsKnown
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
		if l.since.IsZero() || l.last.State != s.State || !l.last.Since.Equal(s.Since) {
			l.since = now
		}
		l.last, l.present = s, true
		if (s.State.Free() || s.State.Busy()) && l.ready.IsZero() {
			l.ready = now
			if born := v.births[s.Job]; born != nil && !born.seen.IsZero() {
				sample(v.cold, s.App, now.Sub(born.seen))
			}
		}
		switch {
		case s.State.Busy() && l.busySince.IsZero():
			l.busySince = now
			if first && s.Since.Before(now) {
				l.busySince = s.Since // as near as can be told
			}
			if v.live(s) {
				v.proven(s)
			}
		case s.State.Free():
			l.busySince = time.Time{}
		}
	}
	v.forget()
}

// proven forgets an app's failures because of a seat that came up after the
// last of them, in the same version, and is good. A seat that came up before
// says nothing of how seats start now.
func (v *view) proven(s wire.Seat) {
	f, l := v.failures[s.App], v.lives[s.ID]
	if f != nil && l != nil && f.version == seatVersion(s) && l.ready.After(f.last) {
		delete(v.failures, s.App)
	}
}

// setJobs takes what Nomad says, and gives the children that have died since.
func (v *view) setJobs(jobs Jobs, now time.Time) (died []Child) {
	before, known := v.jobs.Children, v.jobsKnown
	v.jobs, v.jobsKnown = jobs, true
	tokens := map[string]string{} // by child
	for token, d := range v.underway {
		if d.child != "" {
			tokens[d.child] = token
		}
	}
	for id, child := range jobs.Children {
		born := v.births[id]
		if born == nil {
			born = &birth{}
			v.births[id] = born
			if known {
				born.seen = now
			}
			// The event may come before Dispatch has returned the child's id:
			// the token is known all along.
			token := cmp.Or(tokens[id], child.Token)
			if d, ok := v.underway[token]; ok {
				born.seen = d.at
				delete(v.underway, token)
			}
		}
		switch was, seen := before[id]; {
		case child.State != ChildDead:
		case seen && was.State != ChildDead:
			died = append(died, child)
		case !seen && known && child.Created.After(v.looked.Add(-lookBehind)):
			died = append(died, child) // dispatched and dead between two looks
		}
		switch {
		case child.State == ChildDead:
			delete(v.sent, child.Token)
			born.blocked = time.Time{}
		case child.State != ChildBlocked:
			born.blocked = time.Time{}
		case born.blocked.IsZero():
			born.blocked = now
		}
	}
	v.looked = now
	slices.SortFunc(died, func(a, b Child) int { return cmp.Compare(a.ID, b.ID) })
	for _, child := range died {
		if l := v.lives[child.Alloc]; l != nil && !l.busySince.IsZero() {
			sample(v.length, child.App, now.Sub(l.busySince))
		}
	}
	v.forget()
	return died
}

// lookBehind is how much older than the last look a child may say it is that
// was not seen then: clocks differ, and news takes its time. What is older was
// dead before we came.
const lookBehind = time.Minute

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
	for child := range v.births {
		if _, ok := v.jobs.Children[child]; !ok {
			delete(v.births, child)
		}
	}
}

// live gives the seat unless Nomad knows that it is dead.
func (v *view) live(s wire.Seat) bool {
	child, ok := v.jobs.Children[s.Job]
	return !ok || child.State != ChildDead
}

// freeSeats are the seats that may be offered now: those of the app's present
// version first, then the newest, then those that have been idle longest.
func (v *view) freeSeats(app App, now time.Time) []wire.Seat {
	var out []wire.Seat
	for id, s := range v.seats {
		l := v.lives[id]
		if s.App == app.ID && s.State.Free() && v.live(s) && !l.reserved && !l.taken(now) && !l.silent(now) && !l.isRetiring(now) {
			out = append(out, s)
		}
	}
	present := func(s wire.Seat) int {
		if seatVersion(s) == app.Version {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b wire.Seat) int {
		return cmp.Or(cmp.Compare(present(a), present(b)), cmp.Compare(seatVersion(b), seatVersion(a)),
			a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// hasVersion reports whether a seat of that version is free or may become so.
func (v *view) hasVersion(app string, version uint64, now time.Time) bool {
	for id, s := range v.seats {
		if s.App == app && v.live(s) && seatVersion(s) == version &&
			(s.State == wire.SeatStarting || s.State.Free() && !v.lives[id].taken(now) && !v.lives[id].isRetiring(now)) {
			return true
		}
	}
	for _, child := range v.jobs.Children {
		if child.App != app || child.Version != version || child.State != ChildPending && child.State != ChildRunning {
			continue
		}
		if _, seen := v.lives[child.Alloc]; !seen {
			return true // no stream host speaks yet
		}
	}
	return false
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
		case s.State.Busy(), s.State.Free() && l.taken(now):
			t.busy++ // or somebody has it, and Consul will say so in a moment
		case s.State.Free() && (l.isRetiring(now) || l.silent(now)):
			t.ending++ // it holds its place, and nobody can have it now
		case s.State.Free():
			old := seatVersion(s) != app.Version
			if old {
				t.old++
			} else {
				t.idle++
			}
			t.idleSeats = append(t.idleSeats, idleSeat{id: id, old: old, age: now.Sub(l.since)})
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
		case child.State == ChildBlocked && child.Version != app.Version:
			t.ending++ // the leader stops it; it says nothing of the present version
		case child.State == ChildBlocked:
			t.counts.blocked++
			t.blocked = append(t.blocked, child)
		default:
			add(coming{child: id, token: child.Token, since: child.Created, progress: placing})
		}
	}
	for token, d := range v.underway {
		if d.app == app.ID && (d.child == "" || !present[d.child]) {
			add(coming{child: d.child, token: token, since: d.at, progress: placing})
		}
	}
	t.allComing = t.starting + t.foreign
	slices.SortFunc(t.blocked, func(a, b Child) int { return cmp.Compare(a.ID, b.ID) })
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
