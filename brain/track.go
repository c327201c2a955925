package brain

import (
	"cmp"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// pauseFor is how long a seat is left alone that did not answer, or that was
	// asked to retire.
	pauseFor = 5 * time.Second
	// takenFor is how long a seat that declined a claim counts as taken although
	// its node tells of it as free.
	takenFor = 30 * time.Second
	// elsewhereFor is how long a seat is left alone that another replica offers: until its
	// node tells that somebody has it.
	elsewhereFor = time.Second
	// eventsWithin is how long Nomad's events may take to show a child. After it,
	// Nomad's servers are asked.
	eventsWithin = 30 * time.Second
)

// seatTrack is a seat's last record, and what the record does not say. The times below
// it are by this process's clock, which may differ from the clock of the seat's node.
type seatTrack struct {
	wire.Seat
	from    *nodeView // which tells of it
	unit    *unit     // nil while Nomad does not know it on that node
	present bool      // the feed tells of it now
	away    bool      // the feed is lost
	goneAt  time.Time

	played *played // the last session that played there; nil before

	since    time.Time // when its state was seen first
	arrives  time.Time // when it first said how much of its content is there: before, its cell is made
	ready    time.Time // when it was seen idle or busy first
	measured bool      // its cold start
	// busySince is zero unless it serves, or died while it served.
	busySince time.Time
	// declined is the Since of the state in which the seat declined or took a
	// claim of this replica. It is not offered again before its state changes.
	declined      time.Time
	declinedAt    time.Time
	unreachableAt time.Time     // when it did not answer
	sickUntil     time.Time     // it refused a good ticket, and is set aside until then
	sick          int           // how often in a row
	holder        ticket.Claims // whom this replica granted it last
	named         bool          // the log has said that it is a stranger
	reserved      bool          // it is offered to a person of this replica
	lentAt        time.Time     // when this replica had it prepared for a person
	elsewhereAt   time.Time     // when another replica said that it offers it
	retiringAt    time.Time     // when it was asked to retire
	endingAt      time.Time     // when it was asked to end a session that others wait for
	warned        string        // the session that was told last that it may end
	warnedAt      time.Time
}

// heard reports whether a node tells of the seat now.
func (t *seatTrack) heard() bool { return t.present && !t.away }

// surer reports whether what a feed tells of a seat counts more than what another one does: a
// feed that is heard comes before one that is lost, and then the later word.
func (t *seatTrack) surer(o *seatTrack) bool {
	rank := func(t *seatTrack) int {
		switch {
		case t.heard():
			return 0
		case t.present:
			return 1
		}
		return 2
	}
	return cmp.Or(rank(t)-rank(o), o.since.Compare(t.since), cmp.Compare(t.from.feed, o.from.feed)) < 0
}

// taken reports whether somebody has the seat although its node tells of it
// as free. If the node does so for long, the node is right.
func (t *seatTrack) taken(now time.Time) bool {
	return !t.declinedAt.IsZero() && t.declined.Equal(t.Since) && now.Sub(t.declinedAt) < takenFor
}

// unreachable reports whether the seat did not answer a moment ago.
func (t *seatTrack) unreachable(now time.Time) bool { return now.Sub(t.unreachableAt) <= pauseFor }

func (t *seatTrack) retiring(now time.Time) bool { return now.Sub(t.retiringAt) <= pauseFor }

// elsewhere reports whether another replica offers the seat.
func (t *seatTrack) elsewhere(now time.Time) bool { return now.Sub(t.elsewhereAt) <= elsewhereFor }

const (
	firstSick = 5 * time.Second
	maxSick   = 5 * time.Minute
)

// setAside reports whether the seat refused a good ticket a while ago.
func (t *seatTrack) setAside(now time.Time) bool { return now.Before(t.sickUntil) }

// note changes what is noted of a seat, and counts it anew.
func (v *view) note(seat string, now time.Time, change func(*seatTrack)) {
	if u := v.byAlloc[seat]; u != nil && u.seat != nil {
		change(u.seat)
		v.place(u, now)
	}
}

// noteSick sets a seat aside that refuses good tickets, for longer each time. The other
// seats of its node are offered last.
func (v *view) noteSick(seat string, now time.Time) {
	v.note(seat, now, func(t *seatTrack) {
		t.sickUntil = now.Add(min(firstSick<<min(t.sick, 10), maxSick))
		t.sick++
		if v.sickNodes[t.from].Before(t.sickUntil) {
			v.sickNodes[t.from] = t.sickUntil
		}
		v.placeNode(t.from, now)
	})
}

// placeNode counts all seats of a node anew.
func (v *view) placeNode(n *nodeView, now time.Time) {
	for _, t := range n.seats {
		v.replace(t, now)
	}
}

// inherit takes over what is known of a seat of which another feed of its node told before.
func (t *seatTrack) inherit(o *seatTrack) {
	said, from, present, away, since := t.Seat, t.from, t.present, t.away, t.since
	if o.State == said.State && o.Since.Equal(said.Since) {
		since = o.since
	}
	busySince := t.busySince
	*t = *o
	t.Seat, t.from, t.present, t.away, t.since = said, from, present, away, since
	if o.busySince.IsZero() || said.State.Free() {
		t.busySince = busySince
	}
}

// reserve marks a seat as offered.
func (v *view) reserve(seat string, now time.Time) {
	v.note(seat, now, func(t *seatTrack) { t.reserved = true })
}

// unreserve ends an offer.
func (v *view) unreserve(seat string, now time.Time) {
	v.note(seat, now, func(t *seatTrack) { t.reserved = false })
}

// noteTaken notes that somebody has a seat, in the state that it had at since. claims are
// of the session that this replica has granted it, else the zero value.
func (v *view) noteTaken(seat string, since time.Time, claims ticket.Claims, now time.Time) {
	v.note(seat, now, func(t *seatTrack) {
		t.declined, t.declinedAt = since, now
		if claims.Session != "" {
			t.holder = claims
		}
	})
}

func (v *view) noteUnreachable(seat string, now time.Time) {
	v.note(seat, now, func(t *seatTrack) { t.unreachableAt = now })
}

// noteElsewhere notes that another replica offers a seat, or not any more.
func (v *view) noteElsewhere(seat string, offered bool, now time.Time) {
	v.note(seat, now, func(t *seatTrack) {
		if t.elsewhereAt = (time.Time{}); offered {
			t.elsewhereAt = now
		}
	})
}

// noteRetiring notes that a seat is asked to retire.
func (v *view) noteRetiring(seat string, now time.Time) {
	v.note(seat, now, func(t *seatTrack) { t.retiringAt = now })
}

// served reports whether somebody has had the seat.
func (u *unit) served() bool { return u.seat != nil && !u.seat.busySince.IsZero() }

// restart is a dead child that Nomad would start again.
type restart struct{ stopping time.Time }

// pendingDispatch is a dispatch that Nomad's events have not shown yet.
type pendingDispatch struct {
	app, child string // child is empty until Dispatch returns
	at         time.Time
	asked      time.Time // when Nomad's servers were asked about it last
	coming     *coming
}

// expect counts a dispatch as on its way.
func (v *view) expect(token, app string, now time.Time) {
	v.rejected(token)
	a := v.of(app)
	d := pendingDispatch{app: app, at: now, asked: now, coming: &coming{since: now, token: token}}
	v.pending[token] = d
	a.come(d.coming)
	a.starting++
	v.changed[app] = true
	if sessionOf(token) != "" {
		v.sent[token] = now
	}
}

// isOwn reports whether this replica dispatched a seat with the token for one of
// its people.
func (v *view) isOwn(token string) bool {
	_, ok := v.sent[token]
	return ok
}

// rejected ends the waiting for what Nomad shows of a dispatch.
func (v *view) rejected(token string) {
	d, ok := v.pending[token]
	if !ok {
		return
	}
	delete(v.pending, token)
	a := v.of(d.app)
	a.came(d.coming)
	a.starting--
	v.changed[d.app] = true
}

// accepted notes that Nomad has made a child of a dispatch. It reports whether the child
// is dead already.
func (v *view) accepted(token, child string) (dead bool) {
	dead = v.ended.byChild[child] != nil
	if dead || v.units[child] != nil {
		v.rejected(token)
	} else if d, ok := v.pending[token]; ok {
		d.child = child
		v.pending[token] = d
	}
	return dead
}

// overdue are the apps with a child that Nomad accepted long ago and has not
// shown. Each is named once in eventsWithin.
func (v *view) overdue(now time.Time) []string {
	var out []string
	for token, d := range v.pending {
		if d.child != "" && now.Sub(d.asked) > eventsWithin {
			d.asked = now
			v.pending[token] = d
			out = append(out, d.app)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// settle takes Nomad's list of an app's children that live. A pending child that
// is not among them has come and gone unseen. It reports whether there was one.
func (v *view) settle(app string, live []string, now time.Time) (changed bool) {
	for token, d := range v.pending {
		// A dispatch that is younger than the question is settled by the next answer.
		if d.app == app && d.child != "" && now.Sub(d.at) > eventsWithin && !slices.Contains(live, d.child) {
			v.rejected(token)
			changed = true
		}
	}
	return changed
}
