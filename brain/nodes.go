package brain

import (
	"maps"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// lostNodeKept is how long the seats of a node count that is not heard any more. They
// are offered to nobody meanwhile: most nodes come back, with people in their seats.
const lostNodeKept = 6 * time.Second

// node is a node as brains hear it.
type node struct {
	feed string // which feed it is; nodes that share a Consul agent have one name
	name string // of the Consul agent with which it is registered
}

// nodeSaid takes what a node's feed says. all says that set are all of its seats.
func (v *view) nodeSaid(from node, all bool, set map[string]wire.Seat, gone []string, now time.Time) {
	n := v.nodes[from.feed]
	if n == nil {
		n = &nodeView{feed: from.feed, name: from.name, seats: map[string]*seatTrack{}}
		v.nodes[from.feed] = n
	}
	if !n.lost.IsZero() {
		n.lost = time.Time{}
		for _, t := range n.seats {
			t.away = false
			v.replace(t, now)
		}
	}
	if all {
		for id, t := range n.seats {
			if _, ok := set[id]; !ok {
				v.seatGone(t, now)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(set)) {
		s := set[id]
		s.ID, s.Node = id, n.name
		v.seatSaid(n, s, all, now)
	}
	for _, id := range gone {
		if t := n.seats[id]; t != nil {
			v.seatGone(t, now)
		}
	}
	v.countPeople(n, now)
}

// countPeople counts the people of a node anew. Where they are more or fewer, its free seats
// have another place in their order.
func (v *view) countPeople(n *nodeView, now time.Time) {
	people := 0
	for _, t := range n.seats {
		if t.present && t.State.Busy() {
			people++
		}
	}
	if people == n.people {
		return
	}
	n.people = people
	for _, t := range n.seats {
		if t.unit != nil && t.unit.spot.free {
			v.place(t.unit, now)
		}
	}
}

// nodeLost notes that a node's feed has ended.
func (v *view) nodeLost(feed string, now time.Time) {
	n := v.nodes[feed]
	if n == nil || !n.lost.IsZero() {
		return
	}
	n.lost = now
	for _, t := range n.seats {
		t.away = true
		v.replace(t, now)
	}
}

// forgetNodes forgets the seats of nodes that were lost a while ago.
func (v *view) forgetNodes(now time.Time) {
	for feed, n := range v.nodes {
		if n.lost.IsZero() || now.Sub(n.lost) < lostNodeKept {
			continue
		}
		for _, t := range n.seats {
			v.seatGone(t, now)
		}
		if len(n.seats) == 0 {
			delete(v.nodes, feed)
			delete(v.sickNodes, n)
		}
	}
}

// seatSaid takes a seat's record. inSnapshot says that the seat may be in its state for
// long.
func (v *view) seatSaid(n *nodeView, s wire.Seat, inSnapshot bool, now time.Time) {
	t := n.seats[s.ID]
	fresh := t == nil
	if !fresh {
		v.figures(t, s)
	}
	if fresh {
		t = &seatTrack{from: n}
		n.seats[s.ID] = t
		add(v.tracks, s.ID, t)
	}
	if t.since.IsZero() || t.State != s.State || !t.Since.Equal(s.Since) {
		t.since = now
	}
	if t.arrives.IsZero() && s.State == wire.SeatStarting && s.Progress.Phase == wire.PhaseContent && s.Progress.Fraction >= 0 {
		t.arrives = now
	}
	t.Seat, t.present = s, true
	t.plays(s)
	if (s.State.Free() || s.State.Busy()) && t.ready.IsZero() {
		t.ready = now
	}
	began := false
	switch {
	case s.State.Busy() && t.busySince.IsZero():
		t.busySince = now
		began = !(fresh && inSnapshot)
		if fresh && inSnapshot && s.Since.Before(now) {
			t.busySince = s.Since // the best estimate there is
		}
	case s.State.Free():
		t.busySince = time.Time{}
	}
	was := t.unit
	if was != nil {
		v.adopt(was) // which parts them where they do not belong together any more
	}
	if u := v.units[s.Job]; u != nil && u != was {
		v.adopt(u)
	}
	if began && t.unit != nil {
		t.unit.of.begun.add(now)
	}
	for _, u := range []*unit{was, t.unit} {
		if u != nil {
			v.coldStart(u)
			v.place(u, now)
		}
	}
	v.comesBack(s.Session)
	if t.unit == nil {
		v.strange[t] = true
	}
}

// nodeMeasured takes what seats of a node measured. It changes nothing for anybody who waits or plans.
func (v *view) nodeMeasured(from node, seats map[string]measured) {
	n := v.nodes[from.feed]
	if n == nil {
		return
	}
	for id, m := range seats {
		if t := n.seats[id]; t != nil && t.present && t.Session != "" {
			s := t.Seat
			s.Measured, s.Quality = m.now, m.session
			v.figures(t, s)
			t.Seat = s
		}
	}
}

// seatGone notes that a node does not tell of a seat any more.
func (v *view) seatGone(t *seatTrack, now time.Time) {
	if !t.present {
		return
	}
	t.present, t.goneAt = false, now
	v.over(t)
	v.replace(t, now)
}

// replace counts a seat anew.
func (v *view) replace(t *seatTrack, now time.Time) {
	if t.unit != nil {
		v.place(t.unit, now)
	}
}

// noteBlocked notes since when no node can take the unit. Its start counts from the moment at
// which one could: the wait for a node is no part of it.
func (u *unit) noteBlocked(now time.Time) {
	switch {
	case u.child.State == ChildBlocked && u.blocked.IsZero():
		u.blocked = now
	case u.child.State != ChildBlocked && !u.blocked.IsZero():
		u.blocked, u.seen = time.Time{}, now
	}
}

// coldStart measures how long a seat took from its dispatch, or from when a node could take it,
// until it was ready, once.
func (v *view) coldStart(u *unit) {
	t := u.seat
	if t == nil || t.measured || t.ready.IsZero() {
		return
	}
	t.measured = true
	if !u.seen.IsZero() && !t.ready.Before(u.seen) {
		u.of.coldStarts.add(t.ready.Sub(u.seen))
	}
}
