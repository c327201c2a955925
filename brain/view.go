package brain

import (
	"cmp"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// view is what Consul and Nomad say, put together. It is guarded by Broker.mu.
type view struct {
	jobs       Jobs
	seats      map[string]wire.Seat
	jobsKnown  bool
	seatsKnown bool

	jobsAt time.Time // when Nomad was heard last

	// Of each seat since it was first seen until Nomad has forgotten its job:
	seatTracks map[string]*seatTrack // by alloc
	// Of each child that Nomad knows.
	childTracks map[string]*childTrack // by child
	// What this replica dispatched and Nomad's events have not shown yet, by token.
	pending map[string]pendingDispatch
	// The tokens of this replica's dispatches, until their children are dead: so
	// that a child is not nobody's when the person it was meant for has left.
	sent           map[string]time.Time
	failures       map[string]*backOff   // by app
	coldStarts     map[string]*durations // dispatch → idle, by app
	sessionLengths map[string]*durations // of sessions, by app
}

func newView() *view {
	return &view{
		seats: map[string]wire.Seat{}, seatTracks: map[string]*seatTrack{}, childTracks: map[string]*childTrack{},
		pending: map[string]pendingDispatch{}, sent: map[string]time.Time{},
		failures: map[string]*backOff{}, coldStarts: map[string]*durations{}, sessionLengths: map[string]*durations{},
	}
}

func (v *view) known() bool { return v.jobsKnown && v.seatsKnown }

// setSeats takes what Consul says.
func (v *view) setSeats(list []wire.Seat, now time.Time) {
	first := !v.seatsKnown
	v.seatsKnown = true
	for _, l := range v.seatTracks {
		l.present = false
	}
	v.seats = make(map[string]wire.Seat, len(list))
	for _, s := range list {
		v.seats[s.ID] = s
		l := v.seatTracks[s.ID]
		if l == nil {
			l = &seatTrack{}
			v.seatTracks[s.ID] = l
		}
		if l.since.IsZero() || l.last.State != s.State || !l.last.Since.Equal(s.Since) {
			l.since = now
		}
		l.last, l.present = s, true
		if (s.State.Free() || s.State.Busy()) && l.ready.IsZero() {
			l.ready = now
			if born := v.childTracks[s.Job]; born != nil && !born.seen.IsZero() {
				sample(v.coldStarts, s.App, now.Sub(born.seen))
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
	f, l := v.failures[s.App], v.seatTracks[s.ID]
	if f != nil && l != nil && f.version == seatVersion(s) && l.ready.After(f.last) {
		delete(v.failures, s.App)
	}
}

// setJobs takes what Nomad says, and gives the children that have died since.
func (v *view) setJobs(jobs Jobs, now time.Time) (died []Child) {
	before, known := v.jobs.Children, v.jobsKnown
	v.jobs, v.jobsKnown = jobs, true
	tokens := map[string]string{} // by child
	for token, d := range v.pending {
		if d.child != "" {
			tokens[d.child] = token
		}
	}
	for id, child := range jobs.Children {
		born := v.childTracks[id]
		if born == nil {
			born = &childTrack{}
			v.childTracks[id] = born
			if known {
				born.seen = now
			}
			// The event may come before Dispatch has returned the child's id:
			// the token is known all along.
			token := cmp.Or(tokens[id], child.Token)
			if d, ok := v.pending[token]; ok {
				born.seen = d.at
				delete(v.pending, token)
			}
		}
		switch was, seen := before[id]; {
		case child.State != ChildDead:
		case seen && was.State != ChildDead:
			died = append(died, child)
		case !seen && known && child.Created.After(v.jobsAt.Add(-lookBehind)):
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
	v.jobsAt = now
	slices.SortFunc(died, func(a, b Child) int { return cmp.Compare(a.ID, b.ID) })
	for _, child := range died {
		if l := v.seatTracks[child.Alloc]; l != nil && !l.busySince.IsZero() {
			sample(v.sessionLengths, child.App, now.Sub(l.busySince))
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
	for alloc, l := range v.seatTracks {
		if _, ok := v.jobs.Children[l.last.Job]; !ok && !l.present {
			delete(v.seatTracks, alloc)
		}
	}
	for child := range v.childTracks {
		if _, ok := v.jobs.Children[child]; !ok {
			delete(v.childTracks, child)
		}
	}
}

// live gives the seat unless Nomad knows that it is dead.
func (v *view) live(s wire.Seat) bool {
	child, ok := v.jobs.Children[s.Job]
	return !ok || child.State != ChildDead
}
