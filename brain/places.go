package brain

import (
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// People far behind are told of their place less often: there it means little, and a
	// long line would cost more than the sessions.
	nearPlaces = 100
	farEvery   = 5 // seconds
)

// tellPlaces ends the waiting of people whose ticket has lapsed, and tells all others of
// their place. It is called once a second. mu is held.
func (st *state) tellPlaces(id string, l *line, now time.Time) {
	a := st.view.apps[id]
	place, changed := 0, false
	crowded := st.crowded()
	for _, p := range slices.Clone(l.places) {
		if p.w == nil {
			if crowded {
				p.keep(now)
			}
			if !p.until.IsZero() && !now.Before(p.until) {
				st.forgetPlace(p)
				changed = true
				continue
			}
		} else if p.w.lapsed(now.Add(-ticket.Leeway)) {
			p.w.end(refused(lapsed()))
		}
		if !p.waits(now) {
			continue
		}
		place++
		if p.w != nil && a != nil && (place <= nearPlaces || (p.first.UnixMilli()+now.Unix())%farEvery == 0) {
			st.tellPlace(p.w, a, place, now)
		}
	}
	if changed {
		st.view.changed[id] = true
	}
}

// keep lets a person whose brain is gone keep their place while they may not have had the
// chance to come here.
func (p *place) keep(now time.Time) {
	if until := now.Add(2 * time.Second); !p.until.IsZero() && p.until.Before(until) {
		p.until = earlier(until, p.atMost)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// tellPlace tells a person of their place; 1 is next. mu is held.
func (st *state) tellPlace(w *waiter, a *appView, place int, now time.Time) {
	if st.paused {
		w.update(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: place, EstimateMS: -1, Paused: true}})
		return
	}
	w.update(st.placeOf(a, place, now))
}

// placeOf is the update for the person at a place (1 is next). mu is held.
func (st *state) placeOf(a *appView, place int, now time.Time) wire.Message {
	if place <= len(a.coming) {
		p := wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}
		if u := a.coming[place-1].unit; u != nil && u.seat != nil {
			p = u.seat.Progress
		}
		return wire.Message{Type: wire.MsgStarting, Progress: &p}
	}
	if st.mayStart(a, now) {
		return wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}}
	}
	if n := st.awaitsNode(a, now); n.waits {
		return wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: place, EstimateMS: n.left, Machine: n.told && n.left >= 0}}
	}
	position := place - len(a.coming)
	left := estimate(position, a.counts.busy, a.sessionLengths.mean(), a.coldStarts.median())
	if cold := a.coldStarts.median(); left < 0 && a.ending > 0 && cold > 0 {
		left = cold.Milliseconds() // a new seat can start in a moment
	}
	return wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: position, EstimateMS: left}}
}

// mayStart reports whether the planner can dispatch for people now. mu is held.
func (st *state) mayStart(a *appView, now time.Time) bool {
	if f := a.failures; f != nil && (f.running(a.app.Version, now) || f.failing(a.app.Version) && len(a.coming) > 0) {
		return false
	}
	if a.noApp.times > 0 && (now.Before(a.noApp.until) || len(a.coming) > 0) {
		return false
	}
	return a.counts.blocked == 0 && a.total() < a.app.Max
}

// estimate is how many milliseconds the person at a place (1 is next) will wait for a busy seat,
// or -1 if that is not known: as many people wait longer as wait less. length is the mean of
// sessions, start how long a new seat takes, which each seat that has served needs.
func estimate(place, busy int, length, start time.Duration) int64 {
	if place < 1 || busy < 1 || length <= 0 {
		return -1
	}
	// Seats become free at a rate of busy/(length+start), independently of one another. The
	// median of the time until the place-th one is that of an Erlang distribution.
	return int64((float64(place) - 1./3) * float64((length + start).Milliseconds()) / float64(busy))
}
