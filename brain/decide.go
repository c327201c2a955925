package brain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// sessionOf is the session that a dispatch's token was made for; empty for the pool's.
func sessionOf(token string) string {
	if strings.HasPrefix(token, poolToken) {
		return ""
	}
	session, _, _ := strings.Cut(token, "/")
	return session
}

// passTime notes what follows from time alone.
func (b *Broker) passTime() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	v := b.view
	for id, s := range v.seats {
		if s.State.Free() && v.live(s) && now.Sub(v.seatTracks[id].since) > provenAfter {
			v.proven(s)
		}
	}
	for token, at := range v.sent {
		if now.Sub(at) > ticket.MaxWait {
			delete(v.sent, token) // whoever it was for is not waiting any more, anywhere
		}
	}
	for id, q := range b.queues {
		b.tellFull(q, now)
		b.serve(id, q, now)
	}
}

// decision is what is to be done at one moment.
type decision struct {
	orders []order
	retire []wire.Seat
	stop   []string // children
	ask    []string // apps whose children Nomad owes us news of
}

// order is one dispatch to be made.
type order struct {
	app   App
	token string
	w     *waiter // whom it is for; nil is the pool
}

// decide plans every app. What it orders counts as under way from here on.
func (b *Broker) decide() decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	var d decision
	if !b.view.known() {
		return d
	}
	plans := map[string]App{}
	for id, app := range b.view.jobs.Apps {
		plans[id] = app
	}
	for _, s := range b.view.seats {
		if _, ok := plans[s.App]; !ok {
			plans[s.App] = App{ID: s.App}
		}
	}
	for id, app := range plans {
		_, published := b.view.jobs.Apps[id]
		t := b.view.tally(app, b.mine(id), now)
		f := b.view.failures[id]
		var waiting []*waiter
		strict := 0
		for _, w := range b.queues[id] {
			if !w.waits() || !w.takes(app.Version) {
				continue // nothing that is dispatched now would be hers
			}
			waiting = append(waiting, w)
			if w.claims.Version != 0 {
				strict++
			}
		}
		// Seats that are offered this moment are as good as taken.
		idle := t.idleSeats[:0]
		for _, s := range t.idleSeats {
			if l := b.view.seatTracks[s.id]; l.reserved {
				if s.old {
					t.old--
				} else {
					t.idle--
				}
				t.busy++
			} else {
				idle = append(idle, s)
			}
		}
		m := plan(demand{
			warm: app.Warm, max: app.Max, counts: t.counts, idle: idle, waiting: len(waiting), strict: strict,
			leading: b.leading, unpublished: !published, backOff: f != nil && f.running(app.Version, now),
			unproven: f != nil && f.failing(app.Version),
		})
		d.orders = append(d.orders, b.orders(app, m, waiting, t, now)...)
		for _, seat := range m.retire {
			b.view.seatTracks[seat].retiringAt = now
			d.retire = append(d.retire, b.view.seats[seat])
		}
	}
	d.stop = b.unneeded(now)
	ask := map[string]bool{}
	for token, u := range b.view.pending {
		if u.child != "" && now.Sub(u.asked) > eventsWithin {
			u.asked = now
			b.view.pending[token] = u
			ask[u.app] = true
		}
	}
	d.ask = slices.Sorted(maps.Keys(ask))
	return d
}

// silentFor is how long Nomad's events may owe us a child that Nomad has taken,
// before its servers are asked.
const eventsWithin = 30 * time.Second

// confirmed takes Nomad's answer to which of an app's children live. What is
// under way and not among them has come and gone unseen.
func (b *Broker) confirmed(app string, live []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for token, u := range b.view.pending {
		// Dispatched since it was asked? The next answer will tell.
		if u.app == app && u.child != "" && now.Sub(u.at) > eventsWithin && !slices.Contains(live, u.child) {
			delete(b.view.pending, token)
			b.wake()
		}
	}
}

// blockedMost is how long a child that was dispatched for a person may be
// blocked. Its own replica stops it as soon as she is gone; this is for those
// whose replica is gone too. Who waits still has another dispatched.
const maxBlocked = 5 * time.Minute

// unneeded are the children to be stopped. b.mu is held.
func (b *Broker) unneeded(now time.Time) []string {
	v := b.view
	var out []string
	for id, child := range v.jobs.Children {
		born := v.childTracks[id]
		if born == nil || now.Sub(born.stopping) < pauseFor {
			continue
		}
		app, published := v.jobs.Apps[child.App]
		session := sessionOf(child.Token)
		_, sent := v.sent[child.Token]
		w := b.waiters[session]
		unneeded := false
		switch {
		case child.Restarting:
			unneeded = b.leading
		case child.State != ChildBlocked:
		case !published || child.Version != app.Version:
			unneeded = b.leading
		case session == "":
			// The pool's wish. Nomad places it when there is room.
		case sent && (w == nil || w.ended):
			unneeded = true
		default:
			unneeded = b.leading && now.Sub(born.blocked) > maxBlocked
		}
		if unneeded {
			born.stopping = now
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// orders makes a plan's dispatches, and counts them as under way. b.mu is held.
func (b *Broker) orders(app App, m move, waiting []*waiter, t tally, now time.Time) []order {
	var out []order
	add := func(token string, w *waiter) {
		b.view.pending[token] = pendingDispatch{app: app.ID, at: now, asked: now}
		if w != nil {
			b.view.sent[token] = now
		}
		out = append(out, order{app: app, token: token, w: w})
	}
	alive := map[string]bool{}
	for _, c := range t.startingSeats {
		alive[sessionOf(c.token)] = true
	}
	for _, w := range waiting {
		if len(out) == m.people {
			break
		}
		if alive[w.session] {
			continue // hers is on the way already
		}
		// The session itself is the token, so that two brains start one seat for
		// one person. A second seat for her, after hers went to somebody else,
		// must not be taken for the first.
		token := w.session
		if w.attempts > 0 {
			token += "/" + strconv.Itoa(w.attempts+1)
		}
		add(token, w)
	}
	for range m.pool {
		add(newPoolToken(), nil)
	}
	return out
}

// dispatched takes Nomad's answer to an order. It reports whether a child lives
// that may be one too many.
func (b *Broker) dispatched(o order, child string, err error) bool {
	b.metrics.dispatched(o.app.ID, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if err != nil {
		// Nobody knows whether Nomad took it. The same token asks again, and
		// starts one seat in any case.
		delete(b.view.pending, o.token)
		switch {
		case errors.Is(err, context.Canceled):
			return false // we are being stopped
		case errors.Is(err, ErrNoApp):
			b.backOff(o.app.ID).fail(o.app.Version, now, "Nomad has no such app")
			return false // the view will say so in a moment
		}
		b.startFailed(Child{App: o.app.ID, Version: o.app.Version, Token: o.token}, wire.End{
			Reason: wire.ReasonError, Detail: fmt.Sprintf("Nomad did not take the seat: %v", err)}, now)
		return false
	}
	if o.w != nil {
		o.w.attempts++
	}
	known, shown := b.view.jobs.Children[child]
	if shown {
		delete(b.view.pending, o.token)
	} else if d, ok := b.view.pending[o.token]; ok {
		d.child = child
		b.view.pending[o.token] = d
	}
	if known.State == ChildDead {
		// An earlier brain of hers dispatched it, or it died before Nomad had
		// answered: that was noted when it came into view.
		b.changed()
		return false
	}
	b.log.Info("dispatched a seat", "app", o.app.ID, "version", o.app.Version, "child", child, "for", sessionOf(o.token))
	return true
}
