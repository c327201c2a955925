package brain

import (
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
	// Consul shows it as free.
	takenFor = 30 * time.Second
	// eventsWithin is how long Nomad's events may take to show a child. After it,
	// Nomad's servers are asked.
	eventsWithin = 30 * time.Second
)

// seatTrack is what a seat's record in Consul does not say. Its times are by
// this process's clock, which may differ from the clock of the seat's node.
type seatTrack struct {
	last    wire.Seat // its last record
	present bool      // it is in Consul now
	since   time.Time // when its state was seen first
	ready   time.Time // when it was seen idle or busy first
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
	retiringAt    time.Time     // when it was asked to retire
	endingAt      time.Time     // when it was asked to end a session that others wait for
	warned        string        // the session that was told last that it may end
	warnedAt      time.Time
}

// taken reports whether somebody has the seat although Consul shows it as free.
// If Consul shows that for long, Consul is right.
func (t *seatTrack) taken(now time.Time) bool {
	return t.declined.Equal(t.last.Since) && now.Sub(t.declinedAt) < takenFor
}

// unreachable reports whether the seat did not answer a moment ago.
func (t *seatTrack) unreachable(now time.Time) bool { return now.Sub(t.unreachableAt) <= pauseFor }

func (t *seatTrack) retiring(now time.Time) bool { return now.Sub(t.retiringAt) <= pauseFor }

const (
	firstSick = 5 * time.Second
	maxSick   = 5 * time.Minute
)

// noteSick sets a seat aside that refuses good tickets, for longer each time.
func (v *view) noteSick(seat wire.Seat, now time.Time) {
	if t := v.seatTracks[seat.ID]; t != nil {
		t.sickUntil = now.Add(min(firstSick<<min(t.sick, 10), maxSick))
		t.sick++
	}
}

// setAside reports whether the seat refused a good ticket a while ago.
func (t *seatTrack) setAside(now time.Time) bool { return now.Before(t.sickUntil) }

// reserve marks a seat as offered.
func (v *view) reserve(seat string) {
	if t := v.seatTracks[seat]; t != nil {
		t.reserved = true
	}
}

// unreserve ends an offer.
func (v *view) unreserve(seat string) {
	if t := v.seatTracks[seat]; t != nil {
		t.reserved = false
	}
}

// noteTaken notes that somebody has a seat that Consul still shows as free.
func (v *view) noteTaken(seat wire.Seat, now time.Time) {
	if t := v.seatTracks[seat.ID]; t != nil {
		t.declined, t.declinedAt = seat.Since, now
	}
}

// noteHolder notes whom a seat was granted.
func (v *view) noteHolder(seat wire.Seat, claims ticket.Claims) {
	if t := v.seatTracks[seat.ID]; t != nil {
		t.holder = claims
	}
}

func (v *view) noteUnreachable(seat wire.Seat, now time.Time) {
	if t := v.seatTracks[seat.ID]; t != nil {
		t.unreachableAt = now
	}
}

// noteRetiring notes that a seat is asked to retire, and returns its record.
func (v *view) noteRetiring(seat string, now time.Time) wire.Seat {
	v.seatTracks[seat].retiringAt = now
	return v.seats[seat]
}

// childTrack is what Nomad's record of a child does not say.
type childTrack struct {
	seen     time.Time // when it was seen first; zero where it is older than this process
	blocked  time.Time // since when no node can take it
	stopping time.Time // when it was asked to stop
}

// pendingDispatch is a dispatch that Nomad's events have not shown yet.
type pendingDispatch struct {
	app, child string // child is empty until Dispatch returns
	at         time.Time
	asked      time.Time // when Nomad's servers were asked about it last
}

// expect counts a dispatch as on its way.
func (v *view) expect(token, app string, now time.Time) {
	v.pending[token] = pendingDispatch{app: app, at: now, asked: now}
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

// rejected notes that Nomad has not answered a dispatch with a child.
func (v *view) rejected(token string) { delete(v.pending, token) }

// accepted notes that Nomad has made a child of a dispatch. It returns what
// events have shown of the child already.
func (v *view) accepted(token, child string) Child {
	known, shown := v.jobs.Children[child]
	if shown {
		delete(v.pending, token)
	} else if d, ok := v.pending[token]; ok {
		d.child = child
		v.pending[token] = d
	}
	return known
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
			delete(v.pending, token)
			changed = true
		}
	}
	return changed
}
