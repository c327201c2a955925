package brain

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// failureOf is an app's back-off, nil while nothing fails.
func (v *view) failureOf(app string) *backOff {
	if a := v.apps[app]; a != nil {
		return a.failures
	}
	return nil
}

// strangerAfter is how long Nomad's events may take to show what a seat says of itself.
const strangerAfter = 10 * time.Second

// strangers are the free seats that are not genuine. Each is named once.
func (v *view) strangers(now time.Time) (out []wire.Seat) {
	for t := range v.strange {
		if t.present && t.State.Free() && !t.named && now.Sub(t.since) > strangerAfter && v.known() {
			t.named = true
			out = append(out, t.Seat)
		}
	}
	return out
}

// childOf is a child that lives, the zero value where there is none.
func (v *view) childOf(id string) Child {
	if u := v.units[id]; u != nil {
		return u.child
	}
	return Child{}
}

// seatOf is the seat that says that it has a session, nil where none does. Where several do,
// the one that said so last has it.
func (v *view) seatOf(session string) *unit {
	if have := v.bySession[session]; len(have) > 0 {
		return have[0]
	}
	return nil
}

// seatOfSession is the seat that has a session.
func (v *view) seatOfSession(session string) (wire.Seat, bool) {
	if u := v.seatOf(session); u != nil {
		return u.seat.Seat, true
	}
	return wire.Seat{}, false
}

// lastSeen is a seat's last record, the zero value where there was none.
func (v *view) lastSeen(seat string) wire.Seat { return v.locate(seat).seat }

// locate says what is known of a seat.
func (v *view) locate(seat string) seatLocation {
	out := seatLocation{settled: v.known()}
	if u := v.byAlloc[seat]; u != nil {
		out.running = true
		if u.seat != nil { // also if its node tells of it no more: it may live at its last address
			out.seat = u.seat.Seat
		}
	} else if e := v.ended.byAlloc[seat]; e != nil {
		out.end = &e.end
	} else if !v.jobsKnown {
		// While Nomad does not answer, sessions go on all the same.
		var best *seatTrack
		for t := range v.tracks[seat] {
			if best == nil || t.surer(best) {
				best = t
			}
		}
		if best != nil {
			out.seat, out.running = best.Seat, best.present
		}
	}
	return out
}
