package brain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
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
	unload []wire.Seat // that fetch what nobody needs
	stop   []string    // children
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
	if !st.hearsAll() {
		st.unheard = now
	}
	for _, u := range st.toEmpty(now) {
		d.retire = append(d.retire, u.seat.Seat)
		if u.of.moving == nil {
			u.of.moving = map[*unit]time.Time{}
		}
		u.of.moving[u] = now
		st.plans[u.of.app.ID] = true
		st.view.noteRetiring(u.child.Alloc, now)
	}
	var ids []string
	for id, a := range st.view.apps {
		if st.plans[id] || len(a.moving) > 0 || a.failures != nil || a.noApp.times > 0 || st.lines[id] != nil { // else nothing can have changed
			ids = append(ids, id)
		}
	}
	for _, id := range st.inTurn(ids) {
		a, l := st.view.apps[id], st.lines[id]
		app := a.app
		warn, end := st.overstays(a, now)
		d.warn, d.end = append(d.warn, warn...), append(d.end, end...)
		a.setWarm(now.Sub(st.started), now)
		f, waiting := a.failures, l.count(app.Version, now)
		coming, asked := st.onTheWay(a, waiting.people, now)
		m := plan(demand{
			warm: a.aim(), max: app.Max, counts: a.counts, idle: a.surplus(st.leading, now), waiting: waiting.current, strict: waiting.strict,
			leading: st.leading, unpublished: !a.published, backOff: f != nil && f.running(app.Version, now) || now.Before(a.noApp.until),
			moving: a.movingNow(now), unproven: f != nil && f.failing(app.Version), unknown: a.noApp.times > 0,
			version: app.Version, coming: coming, asked: asked,
		})
		a.noteUnwanted(m.unwanted, now)
		for _, seat := range m.stop {
			d.unload = append(d.unload, st.view.byAlloc[seat].seat.Seat)
			st.view.noteRetiring(seat, now)
		}
		d.orders = append(d.orders, st.orders(a, m, now)...)
		for _, seat := range m.retire {
			d.retire = append(d.retire, st.view.byAlloc[seat].seat.Seat)
			st.view.noteRetiring(seat, now)
		}
	}
	clear(st.plans)
	// What was ordered and retired changes no plan before its answer.
	for _, id := range st.takeChanged() {
		st.serve(id, now)
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

// aim is how many idle seats the pool aims at.
func (a *appView) aim() int {
	if a.app.WarmWait > 0 {
		return min(a.warm, a.app.Max)
	}
	return a.app.Warm
}

// setWarm sizes the pool where the job leaves it to the brain.
func (a *appView) setWarm(age time.Duration, now time.Time) {
	// A few starts that took very long say little of the next one.
	w := warmth{wait: a.app.WarmWait, start: min(a.coldStarts.mean(), 2*a.coldStarts.median()), max: a.app.Max}
	if w.wait <= 0 {
		a.warm, a.warmHold = 0, sizing.Hold{}
		return
	}
	for _, window := range arrivalWindows {
		one := a.begun.within(window, age, now)
		w.begun = append(w.begun, sizing.Window{Over: time.Duration(one.WindowMS) * time.Millisecond, Count: one.Count})
	}
	w.begun = sizing.OldEnough(w.begun)
	if a.warm == 0 {
		a.warm = min(a.keptReady(), a.app.Max) // what a leader before this one kept falls as slowly as its own
	}
	a.warmHold.For = warmHold
	a.warm = a.warmHold.Nodes(a.warm, w.seats(), now)
}

// keptReady is how many seats nobody has that a pool keeps ready, or has ordered.
func (a *appView) keptReady() int {
	n := a.idle + a.old
	for _, c := range a.coming {
		if sessionOf(c.token) == "" {
			n++
		}
	}
	return n
}

// surplus are the idle seats of an app that may be retired, the oldest first. A follower
// retires none.
func (a *appView) surplus(leading bool, now time.Time) []idleSeat {
	if !leading || a.idle+a.old == 0 || a.published && a.old == 0 && a.idle <= a.aim() && a.total() <= a.app.Max {
		return nil
	}
	out := make([]idleSeat, 0, len(a.free))
	for _, u := range a.free {
		out = append(out, idleSeat{id: u.child.Alloc, old: u.spot.class == classOld, age: now.Sub(u.seat.since)})
	}
	slices.SortFunc(out, func(a, b idleSeat) int { return cmp.Or(cmp.Compare(b.age, a.age), cmp.Compare(a.id, b.id)) })
	return out
}

// orders turns a plan into dispatches and counts them as on their way. mu is held.
func (st *state) orders(a *appView, m move, now time.Time) []order {
	app := a.app
	var out []order
	if m.people > 0 {
		onTheWay := map[string]bool{} // by session
		for _, c := range a.coming {
			onTheWay[sessionOf(c.token)] = true
		}
		for _, p := range st.lines[app.ID].places {
			if len(out) == m.people {
				break
			}
			w := p.w
			if w == nil || !w.waits() || !p.takes(app.Version) || w.lapsed(now) || onTheWay[w.session] {
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
	}
	for range m.pool {
		out = append(out, order{app: app, token: poolToken + st.newToken()})
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
			// Either it has just gone, and Nomad's events will show that in a moment, or it has just
			// come: Nomad tells of a job before it can be dispatched. No seat has failed.
			if a := st.view.apps[o.app.ID]; a != nil {
				a.noApp.again(now)
			}
			return false
		}
		st.startFailed(Child{App: o.app.ID, Version: o.app.Version, Token: o.token}, wire.End{
			Reason: wire.ReasonError, Detail: fmt.Sprintf("Nomad did not accept the dispatch: %v", err)}, now)
		return false
	}
	if o.w != nil {
		o.w.attempts++
	}
	if a := st.view.apps[o.app.ID]; a != nil {
		a.noApp = noApp{}
	}
	if st.view.accepted(o.token, child) {
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
		st.changed()
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
	for u := range v.stuck {
		if now.Sub(u.stopping) < pauseFor {
			continue
		}
		session := sessionOf(u.child.Token)
		unneeded := false
		switch {
		case !u.of.published || u.child.Version != u.of.app.Version:
			unneeded = leading
		case session == "":
			// It is for the pool. Nomad places it when a node has capacity.
		case v.isOwn(u.child.Token) && !waits(session):
			unneeded = true
		default:
			unneeded = leading && now.Sub(u.blocked) > maxBlocked
		}
		if unneeded {
			u.stopping = now
			out = append(out, u.child.ID)
		}
	}
	for id, r := range v.restarting {
		if leading && now.Sub(r.stopping) >= pauseFor {
			v.restarting[id] = restart{stopping: now}
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
