package brain

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// class is as what a unit is counted.
type class int

const (
	classNone     class = iota
	classIdle           // ready, of the app's current version
	classOld            // ready, of another version
	classStarting       // on its way, for the pool or for people of this replica
	classForeign        // on its way, for people of other replicas
	classBlocked        // no node can take it
	classBusy           // somebody has it, or is offered it
	classEnding         // nobody can have it, and it counts against max until Nomad says that it is dead
)

// spot is where the indexes have a unit. Only place and lift change it, so that what
// place has put in, lift takes out, whatever has changed meanwhile.
type spot struct {
	class   class
	session string    // in view.bySession
	saidAt  time.Time // when it said so last, of session
	holder  holder    // in view.byHolder
	token   string    // in view.byToken
	coming  *coming
	serves  bool // in appView.versions
	version uint64
	free    bool // in appView.free
	sick    bool // its node is sick
	lent    bool // it is prepared for a person who has not pressed Play
	load    int  // wire.LoadClass.Rank of its node
	people  int  // how many play on its node
	since   time.Time
}

// holder is whom a seat counts for: a subject, or anonymous people of a network who use an app.
type holder struct{ subject, network, app string }

// holderOf is the zero value where a session counts for nobody.
func holderOf(subject, network, app string) holder {
	switch {
	case subject != "":
		return holder{subject: subject}
	case network != "":
		return holder{network: network, app: app}
	}
	return holder{}
}

func (c *counts) of(k class) *int {
	switch k {
	case classIdle:
		return &c.idle
	case classOld:
		return &c.old
	case classStarting:
		return &c.starting
	case classForeign:
		return &c.foreign
	case classBlocked:
		return &c.blocked
	case classBusy:
		return &c.busy
	}
	return &c.ending
}

// better orders free seats: the app's current version first, then newer before older
// versions, then those whose node is sound, then those that are prepared for nobody, then
// those whose node is calm, then those on whose node most people play, then those that are idle
// longest. So nodes become empty, and can be removed. All of it but what this brain itself
// has seen of sick nodes and of loans is in the seats' records, so all brains have one order, and what is
// out of date makes a worse choice and refuses nobody.
func (a *appView) better(u, o *unit) int {
	old := func(u *unit) int {
		if u.spot.version == a.app.Version {
			return 0
		}
		return 1
	}
	sick := func(u *unit) int {
		if u.spot.sick {
			return 1
		}
		return 0
	}
	lent := func(u *unit) int {
		if u.spot.lent {
			return 1
		}
		return 0
	}
	return cmp.Or(old(u)-old(o), cmp.Compare(o.spot.version, u.spot.version), sick(u)-sick(o), lent(u)-lent(o), u.spot.load-o.spot.load,
		o.spot.people-u.spot.people, u.spot.since.Compare(o.spot.since), cmp.Compare(u.child.ID, o.child.ID))
}

func sooner(a, b *coming) int {
	child := func(c *coming) string {
		if c.unit == nil {
			return ""
		}
		return c.unit.child.ID
	}
	return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.token, b.token), cmp.Compare(child(a), child(b)))
}

// later orders the seats that say that they have one session: the one that said so last first.
func later(u, o *unit) int {
	return cmp.Or(o.spot.saidAt.Compare(u.spot.saidAt), cmp.Compare(o.child.ID, u.child.ID))
}

// place counts a unit, and puts it into the indexes, as it is now.
func (v *view) place(u *unit, now time.Time) {
	v.lift(u)
	a, c, t := u.of, u.child, u.seat
	v.changed[c.App] = true
	s := spot{class: classEnding, version: c.Version}
	if t != nil {
		s.version = seatVersion(t.Seat)
	}
	switch {
	case t != nil && t.present:
		v.placeSeat(u, &s, now)
	case t != nil && t.State != wire.SeatStarting:
		// It was a seat, and its node does not tell of it any more.
	case c.State == ChildBlocked && c.Version != a.app.Version:
		// The leader stops it; it says nothing about the current version.
	case c.State == ChildBlocked:
		s.class = classBlocked
	default:
		s.class, s.serves = classStarting, true
	}
	if s.class == classStarting {
		s.coming = &coming{since: c.Created, token: c.Token, unit: u}
		if c.Created.IsZero() && t != nil {
			s.coming.since = t.Since
		}
		s.token = sessionOf(c.Token)
		if !strings.HasPrefix(c.Token, poolToken) && !v.isOwn(c.Token) && !v.waits(s.token) {
			s.class = classForeign
		}
	}
	if s.class != classBlocked && (c.Node != "" || t != nil) {
		a.nodeless = nodeless{}
	}
	u.spot = s
	v.put(u)
}

// placeSeat is place for what a node tells of.
func (v *view) placeSeat(u *unit, s *spot, now time.Time) {
	a, t := u.of, u.seat
	if t.State != wire.SeatIdle && t.Session != "" {
		s.session, s.saidAt = t.Session, t.since
	}
	taken := t.State.Free() && t.taken(now)
	switch {
	case t.State.Busy():
		s.class, s.holder = classBusy, holderOf(t.Subject, t.Network, t.App)
	case taken:
		// It was granted a moment ago, and its node does not say so yet.
		s.class = classBusy
		if t.holder.Session != "" {
			s.holder = holderOf(t.holder.Subject, t.holder.Network, t.App)
		}
	case t.State == wire.SeatStarting && !t.retiring(now):
		s.class, s.serves = classStarting, true
	case !t.State.Free():
	case t.retiring(now):
	case t.unreachable(now), t.setAside(now), t.away:
		s.serves = true
	case t.reserved, t.elsewhere(now):
		s.class, s.serves = classBusy, true
	default:
		s.class, s.serves, s.free, s.since = classIdle, true, true, t.Since
		if s.version != a.app.Version {
			s.class = classOld
		}
		s.sick = now.Before(v.sickNodes[t.from])
		s.lent = t.Prepared || t.lent(now)
		s.load, s.people = t.Load.Rank(), t.from.people
	}
	if taken || t.retiring(now) || t.unreachable(now) || t.setAside(now) || t.elsewhere(now) || t.lent(now) {
		v.flagged[u] = true
	}
	if t.State.Busy() {
		v.proven(u)
	}
}

// put is the second half of place.
func (v *view) put(u *unit) {
	a, s := u.of, u.spot
	*a.counts.of(s.class)++
	if s.session != "" {
		have := v.bySession[s.session]
		at, _ := slices.BinarySearchFunc(have, u, later)
		v.bySession[s.session] = slices.Insert(have, at, u)
	}
	add(v.byHolder, s.holder, u)
	add(v.byToken, s.token, u)
	if s.coming != nil {
		a.come(s.coming)
	}
	if s.serves {
		a.versions[s.version]++
	}
	if s.free {
		at, _ := slices.BinarySearchFunc(a.free, u, a.better)
		a.free = slices.Insert(a.free, at, u)
	}
	if s.class == classBlocked {
		a.noNode[u] = true
	}
	if u.child.State == ChildBlocked {
		v.stuck[u] = true
	}
	if u.seat != nil && u.seat.present && u.seat.State.Busy() {
		a.held[u] = true
	}
}

// lift takes a unit out of the indexes.
func (v *view) lift(u *unit) {
	a, s := u.of, u.spot
	if s.class == classNone {
		return
	}
	*a.counts.of(s.class)--
	if have := v.bySession[s.session]; slices.Equal(have, []*unit{u}) {
		delete(v.bySession, s.session)
	} else if at := slices.Index(have, u); at >= 0 {
		v.bySession[s.session] = slices.Delete(have, at, at+1)
	}
	remove(v.byHolder, s.holder, u)
	remove(v.byToken, s.token, u)
	if s.coming != nil {
		a.came(s.coming)
	}
	if s.serves {
		if a.versions[s.version]--; a.versions[s.version] == 0 {
			delete(a.versions, s.version)
		}
	}
	if s.free {
		if at, ok := slices.BinarySearchFunc(a.free, u, a.better); ok {
			a.free = slices.Delete(a.free, at, at+1)
		}
	}
	delete(a.noNode, u)
	delete(a.held, u)
	delete(v.stuck, u)
	u.spot = spot{}
}

func (a *appView) come(c *coming) {
	at, _ := slices.BinarySearchFunc(a.coming, c, sooner)
	a.coming = slices.Insert(a.coming, at, c)
}

func (a *appView) came(c *coming) {
	at, _ := slices.BinarySearchFunc(a.coming, c, sooner)
	for ; at < len(a.coming); at++ {
		if a.coming[at] == c {
			a.coming = slices.Delete(a.coming, at, at+1)
			return
		}
	}
}

// add puts an item into an index. The zero key is no key.
func add[K, V comparable](index map[K]map[V]bool, key K, item V) {
	if key == *new(K) {
		return
	}
	if index[key] == nil {
		index[key] = map[V]bool{}
	}
	index[key][item] = true
}

func remove[K, V comparable](index map[K]map[V]bool, key K, item V) {
	if delete(index[key], item); len(index[key]) == 0 {
		delete(index, key)
	}
}
