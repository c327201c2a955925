package brain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nearcast/nearcast/internal/wire"
)

// poolToken starts the idempotency token of a seat that is dispatched ahead of
// need.
const poolToken = "pool/"

// sessionOf is the session that a token was made for, empty for the pool's.
func sessionOf(token string) string {
	if strings.HasPrefix(token, poolToken) {
		return ""
	}
	session, _, _ := strings.Cut(token, "/")
	return session
}

// decision is what is to be done at one moment.
type decision struct {
	orders []order
	retire []wire.Seat
	stop   []string // children
	warn   []overstay
	end    []overstay
	ask    []string // apps with a child that Nomad has not shown in time
}

// order is one dispatch to be made.
type order struct {
	app   App
	token string
	w     *waiter // the person that it is for; nil for the pool
}

// decide plans every app. What it orders counts as on its way from then on.
func (st *state) decide() decision {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	var d decision
	if !st.view.known() {
		return d
	}
	for id, app := range st.view.planned() {
		_, published := st.view.app(id)
		t := st.view.tally(app, st.ownTokens(id), now)
		warn, end := st.overstays(app, t, now)
		d.warn, d.end = append(d.warn, warn...), append(d.end, end...)
		t.takeReserved()
		f := st.view.failureOf(id)
		var waiting []*waiter
		strict := 0
		for _, w := range st.queues[id] {
			if !w.waits() || !w.takes(app.Version) || w.lapsed(now) {
				continue // a new seat would not be for them
			}
			waiting = append(waiting, w)
			if w.claims.Version != 0 {
				strict++
			}
		}
		m := plan(demand{
			warm: app.Warm, max: app.Max, counts: t.counts, idle: t.idleSeats, waiting: len(waiting), strict: strict,
			leading: st.leading, unpublished: !published, backOff: f != nil && f.running(app.Version, now),
			unproven: f != nil && f.failing(app.Version),
		})
		d.orders = append(d.orders, st.orders(app, m, waiting, t, now)...)
		for _, seat := range m.retire {
			d.retire = append(d.retire, st.view.noteRetiring(seat, now))
		}
	}
	d.stop = st.view.unneeded(st.leading, st.waits, now)
	d.ask = st.view.overdue(now)
	return d
}

// waits reports whether the person of a session still waits here. mu is held.
func (st *state) waits(session string) bool {
	w := st.waiters[session]
	return w != nil && !w.ended && !w.lapsed(st.now())
}

// orders turns a plan into dispatches and counts them as on their way. mu is held.
func (st *state) orders(app App, m move, waiting []*waiter, t tally, now time.Time) []order {
	var out []order
	onTheWay := map[string]bool{} // by session
	for _, s := range t.startingSeats {
		onTheWay[sessionOf(s.token)] = true
	}
	for _, w := range waiting {
		if len(out) == m.people {
			break
		}
		if onTheWay[w.session] {
			continue
		}
		// The session is the token, so that two brains start one seat for one
		// person. If that seat went to somebody else, the person's next one needs
		// another token.
		token := w.session
		if w.attempts > 0 {
			token += "/" + strconv.Itoa(w.attempts+1)
		}
		out = append(out, order{app: app, token: token, w: w})
	}
	for range m.pool {
		out = append(out, order{app: app, token: poolToken + uuid.NewString()})
	}
	for _, o := range out {
		st.view.expect(o.token, app.ID, now)
	}
	return out
}

// dispatched takes Nomad's answer to an order. It reports whether a child lives
// that may be beyond the app's max.
func (st *state) dispatched(o order, child string, err error) bool {
	st.metrics.dispatched(o.app.ID, err)
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	if err != nil {
		// It is not known whether Nomad took it. The next try has the same token
		// and starts one seat in any case.
		st.view.rejected(o.token)
		switch {
		case errors.Is(err, context.Canceled):
			return false // this brain is stopping
		case errors.Is(err, ErrNoApp):
			st.view.backOff(o.app.ID).fail(o.app.Version, now, wire.End{Reason: wire.ReasonError, Detail: "Nomad has no such app"})
			return false // Nomad's events will show it in a moment
		}
		st.startFailed(Child{App: o.app.ID, Version: o.app.Version, Token: o.token}, wire.End{
			Reason: wire.ReasonError, Detail: fmt.Sprintf("Nomad did not accept the dispatch: %v", err)}, now)
		return false
	}
	if o.w != nil {
		o.w.attempts++
	}
	if st.view.accepted(o.token, child).State == ChildDead {
		// Its death was counted when it was seen: an earlier brain of this person
		// dispatched the child, or it died before Nomad answered.
		st.changed()
		return false
	}
	st.log.Info("dispatched a seat", "app", o.app.ID, "version", o.app.Version, "child", child, "session", sessionOf(o.token))
	return true
}

// settle takes Nomad's list of an app's children that live.
func (st *state) settle(app string, live []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.view.settle(app, live, st.now()) {
		st.wake()
	}
}

// maxBlocked is how long a child that was dispatched for a person may be
// blocked. Its own replica stops it when the person has gone. This is for
// children whose replica has gone too. A person that still waits has another
// child dispatched.
const maxBlocked = 5 * time.Minute

// unneeded are the children to be stopped now. waits reports whether a session's
// person waits at this replica.
func (v *view) unneeded(leading bool, waits func(session string) bool, now time.Time) []string {
	var out []string
	for id, child := range v.jobs.Children {
		track := v.childTracks[id]
		if track == nil || now.Sub(track.stopping) < pauseFor {
			continue
		}
		app, published := v.jobs.Apps[child.App]
		session := sessionOf(child.Token)
		unneeded := false
		switch {
		case child.Restarting:
			unneeded = leading
		case child.State != ChildBlocked:
		case !published || child.Version != app.Version:
			unneeded = leading
		case session == "":
			// It is for the pool. Nomad places it when a node has capacity.
		case v.isOwn(child.Token) && !waits(session):
			unneeded = true
		default:
			unneeded = leading && now.Sub(track.blocked) > maxBlocked
		}
		if unneeded {
			track.stopping = now
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
