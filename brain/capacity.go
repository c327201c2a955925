package brain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// versionOf reads an app's version from a child's id, which Nomad makes of it.
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

// freeSeats are the seats that may be offered now: the app's current version
// first, then newer before older versions, then those whose node is sound, then
// those that are idle longest.
func (v *view) freeSeats(app App, now time.Time) []wire.Seat {
	var out []wire.Seat
	sick := map[string]int{} // by node
	for id, s := range v.seats {
		if v.seatTracks[id].setAside(now) {
			sick[s.Node] = 1
		}
		if s.App != app.ID || !s.State.Free() || !v.genuine(s) {
			continue
		}
		if t := v.seatTracks[id]; !t.reserved && !t.taken(now) && !t.unreachable(now) && !t.retiring(now) && !t.setAside(now) {
			out = append(out, s)
		}
	}
	current := func(s wire.Seat) int {
		if seatVersion(s) == app.Version {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b wire.Seat) int {
		return cmp.Or(cmp.Compare(current(a), current(b)), cmp.Compare(seatVersion(b), seatVersion(a)),
			cmp.Compare(sick[a.Node], sick[b.Node]), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// hasVersion reports whether a seat of that version is free or may become free.
func (v *view) hasVersion(app string, version uint64, now time.Time) bool {
	for id, s := range v.seats {
		if s.App == app && v.genuine(s) && seatVersion(s) == version &&
			(s.State == wire.SeatStarting || s.State.Free() && !v.seatTracks[id].taken(now) && !v.seatTracks[id].retiring(now)) {
			return true
		}
	}
	for _, child := range v.jobs.Children {
		if child.App != app || child.Version != version || child.State != ChildPending && child.State != ChildRunning {
			continue
		}
		if _, seen := v.seatTracks[child.Alloc]; !seen {
			return true // its stream host has not registered yet
		}
	}
	return false
}

// startingSeat is a seat on its way.
type startingSeat struct {
	child    string
	token    string
	since    time.Time
	progress wire.Progress
}

// tally is all seats and children of an app, counted and listed.
type tally struct {
	counts
	idleSeats     []idleSeat
	startingSeats []startingSeat // counts.starting of them, oldest first
	blocked       []Child
	allStarting   int // starting + foreign
}

// tally counts an app's seats. own reports whether a dispatch's token is for
// people of this replica.
func (v *view) tally(app App, own func(token string) bool, now time.Time) tally {
	var t tally
	present := map[string]bool{} // children that have a seat in Consul
	add := func(s startingSeat) {
		if strings.HasPrefix(s.token, poolToken) || own(s.token) {
			t.starting++
			t.startingSeats = append(t.startingSeats, s)
		} else {
			t.foreign++
		}
	}
	for id, s := range v.seats {
		if s.App != app.ID || !v.genuine(s) {
			continue
		}
		present[s.Job] = true
		track := v.seatTracks[id]
		switch {
		case s.State == wire.SeatStarting:
			child := v.jobs.Children[s.Job]
			if child.Created.IsZero() {
				child.Created = s.Since
			}
			add(startingSeat{child: s.Job, token: child.Token, since: child.Created, progress: s.Progress})
		case s.State.Busy(), s.State.Free() && track.taken(now):
			t.busy++
		case s.State.Free() && (track.retiring(now) || track.unreachable(now) || track.setAside(now)):
			t.ending++ // it counts against max, and nobody can have it now
		case s.State.Free():
			old := seatVersion(s) != app.Version
			if old {
				t.old++
			} else {
				t.idle++
			}
			t.idleSeats = append(t.idleSeats, idleSeat{id: id, old: old, age: now.Sub(track.since), reserved: track.reserved})
		default:
			t.ending++
		}
	}
	placing := wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}
	for id, child := range v.jobs.Children {
		if child.App != app.ID || child.State == ChildDead || present[id] {
			continue
		}
		switch track := v.seatTracks[child.Alloc]; {
		case track != nil && track.last.State != wire.SeatStarting:
			t.ending++ // it was a seat and has left Consul
		case child.State == ChildBlocked && child.Version != app.Version:
			t.ending++ // the leader stops it; it says nothing about the current version
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

// takeReserved counts idle seats that are being offered as busy.
func (t *tally) takeReserved() {
	t.idleSeats = slices.DeleteFunc(t.idleSeats, func(s idleSeat) bool {
		if !s.reserved {
			return false
		}
		if s.old {
			t.old--
		} else {
			t.idle--
		}
		t.busy++
		return true
	})
}
