package brain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

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

// freeSeats are the seats that may be offered now: those of the app's present
// version first, then the newest, then those that have been idle longest.
func (v *view) freeSeats(app App, now time.Time) []wire.Seat {
	var out []wire.Seat
	for id, s := range v.seats {
		l := v.seatTracks[id]
		if s.App == app.ID && s.State.Free() && v.live(s) && !l.reserved && !l.taken(now) && !l.unreachable(now) && !l.retiring(now) {
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
			(s.State == wire.SeatStarting || s.State.Free() && !v.seatTracks[id].taken(now) && !v.seatTracks[id].retiring(now)) {
			return true
		}
	}
	for _, child := range v.jobs.Children {
		if child.App != app || child.Version != version || child.State != ChildPending && child.State != ChildRunning {
			continue
		}
		if _, seen := v.seatTracks[child.Alloc]; !seen {
			return true // no stream host speaks yet
		}
	}
	return false
}

// coming is a seat on its way.
type startingSeat struct {
	child    string
	token    string
	since    time.Time
	progress wire.Progress
}

// tally is all an app's seats and children, counted and listed.
type tally struct {
	counts
	idleSeats     []idleSeat
	startingSeats []startingSeat // counts.starting of them, the furthest first
	blocked       []Child
	allStarting   int
}

// tally counts an app's room. mine says whether a dispatch's token belongs to
// this replica's people; a token of nobody is the pool's.
func (v *view) tally(app App, mine func(token string) bool, now time.Time) tally {
	var t tally
	present := map[string]bool{} // child ids that have a seat in Consul
	add := func(c startingSeat) {
		if strings.HasPrefix(c.token, poolToken) || mine(c.token) {
			t.starting++
			t.startingSeats = append(t.startingSeats, c)
		} else {
			t.foreign++
		}
	}
	for id, s := range v.seats {
		if s.App != app.ID || !v.live(s) {
			continue
		}
		present[s.Job] = true
		l := v.seatTracks[id]
		switch {
		case s.State == wire.SeatStarting:
			child := v.jobs.Children[s.Job]
			if child.Created.IsZero() {
				child.Created = s.Since
			}
			add(startingSeat{child: s.Job, token: child.Token, since: child.Created, progress: s.Progress})
		case s.State.Busy(), s.State.Free() && l.taken(now):
			t.busy++ // or somebody has it, and Consul will say so in a moment
		case s.State.Free() && (l.retiring(now) || l.unreachable(now)):
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
		switch l := v.seatTracks[child.Alloc]; {
		case l != nil && l.last.State != wire.SeatStarting:
			t.ending++ // was a seat and is silent now
		case child.State == ChildBlocked && child.Version != app.Version:
			t.ending++ // the leader stops it; it says nothing of the present version
		case child.State == ChildBlocked:
			t.counts.blocked++
			t.blocked = append(t.blocked, child)
		default:
			add(startingSeat{child: id, token: child.Token, since: child.Created, progress: placing})
		}
	}
	for token, d := range v.pending {
		if d.app == app.ID && (d.child == "" || !present[d.child]) {
			add(startingSeat{child: d.child, token: token, since: d.at, progress: placing})
		}
	}
	t.allStarting = t.starting + t.foreign
	slices.SortFunc(t.blocked, func(a, b Child) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(t.startingSeats, func(a, b startingSeat) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.token, b.token))
	})
	slices.SortFunc(t.idleSeats, func(a, b idleSeat) int {
		return cmp.Or(cmp.Compare(b.age, a.age), cmp.Compare(a.id, b.id))
	})
	return t
}
