package brain

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A public app's seat is for everybody, and a page, or a script that plays a person, may
// hold it for as long as max_duration allows. While others wait and no seat is on its
// way to them, the leader ends the sessions that are older than the job's
// max_when_queued, the oldest first, one for each person that waits. The person learns
// that their time is up.

// endingWithin is how long a session that was asked to end counts as one that will.
const endingWithin = 10 * time.Second

// overstay is a session to be ended because others wait.
type overstay struct {
	seat    wire.Seat
	session string
}

// overstays are the sessions of an app that are to be ended now. mu is held.
func (st *state) overstays(app App, t tally, now time.Time) []overstay {
	if !st.leading || app.Access != wire.AccessPublic || app.MaxWhenQueued <= 0 {
		return nil
	}
	need := st.queues[app.ID].people(now) - t.idle - t.old - t.allStarting - t.ending
	for _, counts := range st.peerQueues {
		need += counts[app.ID]
	}
	f := st.view.failureOf(app.ID)
	if t.counts.blocked == 0 && (f == nil || !f.failing(app.Version)) {
		need -= max(0, app.Max-t.total()) // seats that may be dispatched
	}
	type held struct {
		overstay
		since time.Time
	}
	var longest []held
	for id, s := range st.view.seats {
		track := st.view.seatTracks[id]
		switch {
		case s.App != app.ID || !s.State.Busy() || s.Session == "" || !st.view.genuine(s):
		case now.Sub(track.endingAt) < endingWithin:
			need--
		case now.Sub(track.busySince) > app.MaxWhenQueued:
			longest = append(longest, held{overstay{s, s.Session}, track.busySince})
		}
	}
	slices.SortFunc(longest, func(a, b held) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.seat.ID, b.seat.ID))
	})
	var out []overstay
	for _, h := range longest[:min(len(longest), max(0, need))] {
		st.view.seatTracks[h.seat.ID].endingAt = now
		st.log.Info("a session ends because others wait", "app", app.ID, "session", h.session, "seat", h.seat.ID, "lasted", now.Sub(h.since).Round(time.Second))
		out = append(out, h.overstay)
	}
	return out
}

// end ends an overstay at its seat.
func (p *planner) end(ctx context.Context, o overstay) {
	_, err := p.seats.post(ctx, o.seat, wire.EndPath, wire.EndRequest{Session: o.session, Reason: wire.ReasonTimeLimit})
	if err != nil && ctx.Err() == nil {
		p.log.Warn("cannot end a session; asking again", "seat", o.seat.ID, "within", endingWithin, "error", err)
	}
}
