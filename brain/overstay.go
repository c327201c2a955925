package brain

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A public app's seat is for everybody, and a page, or a script that plays a person, may
// hold it for as long as max_duration allows. While others wait and no seat is on its
// way to them, the leader ends the sessions that are older than the job's
// max_when_queued, the oldest first, one for each person that waits. The page is told a
// minute before, and again that the time is up.

// endingWithin is how long a session that was asked to end counts as one that will.
const endingWithin = 10 * time.Second

// longestWarning is how long before its end a session is told of it. One that may last
// less than twice as long is told when half of its time is over.
const longestWarning = time.Minute

func warning(app App) time.Duration { return min(longestWarning, app.MaxWhenQueued/2) }

// warnedFor is how long a warning counts beyond its time. After that, those who waited had
// seats without that session's, and it is told anew.
const warnedFor = 30 * time.Second

// overstay is a session to be ended because others wait.
type overstay struct {
	seat    wire.Seat
	session string
	after   time.Duration // of a warning: when it will end
}

// overstays are the sessions of an app that are to be told of their end, and those to be
// ended, now. mu is held.
func (st *state) overstays(a *appView, now time.Time) (warn, end []overstay) {
	app := a.app
	if !st.leading || app.Access != wire.AccessPublic || app.MaxWhenQueued <= 0 {
		return nil, nil
	}
	need := st.lines[app.ID].count(app.Version, now).people - a.idle - a.old - len(a.coming) - a.ending
	if f := a.failures; a.counts.blocked == 0 && (f == nil || !f.failing(app.Version)) {
		need -= max(0, app.Max-a.total()) // seats that may be dispatched
	}
	if need <= 0 || len(a.held) > shortLine && now.Sub(a.overstaysAt) < time.Second {
		return nil, nil
	}
	a.overstaysAt = now
	type held struct {
		overstay
		track *seatTrack
		since time.Time
	}
	var longest []held
	for u := range a.held {
		switch t := u.seat; {
		case t.Session == "":
		case now.Sub(t.endingAt) < endingWithin:
			need--
		case now.Sub(t.busySince) > app.MaxWhenQueued-warning(app):
			longest = append(longest, held{overstay{seat: t.Seat, session: t.Session}, t, t.busySince})
		}
	}
	slices.SortFunc(longest, func(a, b held) int {
		return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.seat.ID, b.seat.ID))
	})
	for _, h := range longest[:min(len(longest), max(0, need))] {
		track := h.track
		told := now.Sub(track.warnedAt)
		if track.warned != h.session || told > warning(app)+warnedFor {
			track.warned, track.warnedAt = h.session, now
			h.after = max(warning(app), app.MaxWhenQueued-now.Sub(h.since))
			warn = append(warn, h.overstay)
			continue
		}
		if told < warning(app) || now.Sub(h.since) <= app.MaxWhenQueued {
			continue
		}
		track.endingAt = now
		st.log.Info("a session ends because others wait", "app", app.ID, "session", h.session, "seat", h.seat.ID, "lasted", now.Sub(h.since).Round(time.Second))
		end = append(end, h.overstay)
	}
	return warn, end
}

// warn tells the person of an overstay, through the seat.
func (p *planner) warn(ctx context.Context, o overstay) {
	after := int(math.Ceil(o.after.Seconds()))
	status, err := p.seats.post(ctx, o.seat, wire.WarnPath, wire.WarnRequest{Session: o.session, Ending: wire.Ending{Reason: wire.ReasonTimeLimit, AfterS: after}})
	if (err != nil || status != http.StatusNoContent) && ctx.Err() == nil {
		p.log.Warn("cannot tell a person that their session will end", "seat", o.seat.ID, "status", status, "error", err)
	}
}

// end ends an overstay at its seat.
func (p *planner) end(ctx context.Context, o overstay) {
	_, err := p.seats.post(ctx, o.seat, wire.EndPath, wire.EndRequest{Session: o.session, Reason: wire.ReasonTimeLimit})
	if err != nil && ctx.Err() == nil {
		p.log.Warn("cannot end a session; asking again", "seat", o.seat.ID, "within", endingWithin, "error", err)
	}
}
