package brain

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/wire"
)

// Bounds of what people get who have not pressed Play, at each brain.
const (
	// keepIdle is how many idle seats of the app's version are left that are prepared for nobody.
	keepIdle = 1
	// leasesAtOnce and leaseEvery bound a network, a /24 or a /48: so many seats at once, and
	// as many at once and then one each leaseEvery in the course of time.
	leasesAtOnce = 4
	leaseEvery   = 2 * time.Second
	// maxLending bounds the networks that are remembered, which is until their bounds are
	// whole again. Beyond them nobody is lent a seat.
	maxLending = 4096
	// lentFor is how long a seat counts as prepared until its node says so.
	lentFor = time.Second
)

// lending is what networks have of it.
type lending map[netip.Prefix]*borrower

type borrower struct {
	open int
	rate *rate.Limiter
}

// take counts a lease, or says that there is none for a network.
func (l lending) take(network netip.Prefix, now time.Time) bool {
	of := l[network]
	if of == nil {
		if len(l) >= maxLending {
			l.forget(now)
		}
		if len(l) >= maxLending {
			return false
		}
		of = &borrower{rate: rate.NewLimiter(rate.Every(leaseEvery), leasesAtOnce)}
		l[network] = of
	}
	if of.open >= leasesAtOnce || !of.rate.AllowN(now, 1) {
		return false
	}
	of.open++
	return true
}

// forget drops the networks that have all that they may have.
func (l lending) forget(now time.Time) {
	for network, of := range l {
		if of.open == 0 && of.rate.TokensAt(now) >= leasesAtOnce {
			delete(l, network)
		}
	}
}

// lent reports whether the seat was prepared for a person a moment ago.
func (t *seatTrack) lent(now time.Time) bool { return now.Sub(t.lentAt) <= lentFor }

// lease is a seat that is to spare for a person who has not pressed Play.
type lease struct {
	b       *Broker
	w       *waiter
	seat    wire.Seat
	network netip.Prefix
	back    bool      // it was given back; state.mu guards it
	pressed time.Time // of Play
}

// play is called when the person presses Play. It says why they may not have a session.
func (l *lease) play() *wire.Problem {
	l.pressed = time.Now()
	return l.b.state.plays(l.w)
}

// began is called when the seat has begun the session.
func (l *lease) began() {
	after := time.Since(l.pressed)
	l.w.span.End()
	l.b.metrics.claims.WithLabelValues("granted").Inc()
	l.b.metrics.firstClaim.Observe(after.Seconds())
	l.b.log.Info("granted", "session", l.w.session, "app", l.w.app, "seat", l.seat.ID, "prepared", true, "after", after.Round(time.Microsecond))
	l.b.state.played(l)
}

// lend chooses a seat that is to spare for a person who has not pressed Play, or nil: nobody
// waits for the app, the person may have a session more, and others are left for those who
// press Play. Most who press have rested there before, so they get no worse node than others: the
// seat is the last of those that are as good as the best, on a node as calm and with as many
// people, and never one on a node that may leave soon. giveBack ends each lease.
func (st *state) lend(w *waiter, network netip.Prefix) *lease {
	st.mu.Lock()
	defer st.mu.Unlock()
	a, now := st.view.apps[w.app], st.now()
	if st.paused || st.closing || a == nil || !a.published || st.lines[w.app] != nil || st.overCap(w.claims) != nil {
		return nil
	}
	version := w.claims.Version
	if version == 0 {
		version = a.app.Version
	}
	spare := 0
	var best, last *unit
	for _, u := range a.free {
		if u.spot.version != version || u.spot.sick || u.spot.lent {
			continue
		}
		if best == nil {
			best = u
		}
		as := u.spot.load == best.spot.load && u.spot.people == best.spot.people
		if as {
			last = u
		}
		if spare++; spare > keepIdle && !as {
			break
		}
	}
	if spare <= keepIdle || best.spot.load == wire.LoadLeaving.Rank() || !st.lending.take(network, now) {
		return nil
	}
	l := &lease{w: w, seat: last.seat.Seat, network: network}
	st.view.note(l.seat.ID, now, func(t *seatTrack) { t.lentAt = now })
	st.changed()
	return l
}

// plays counts the session of a person who presses Play, unless they have too many.
func (st *state) plays(w *waiter) *wire.Problem {
	st.mu.Lock()
	defer st.mu.Unlock()
	if over := st.overCap(w.claims); over != nil {
		return over
	}
	add(st.holders, w.holder, w)
	return nil
}

// played notes that the session has begun.
func (st *state) played(l *lease) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	st.arrived(l.w.session, l.w.app, now)
	st.view.noteTaken(l.seat.ID, l.seat.Since, l.w.claims, now)
	if u := st.view.byAlloc[l.seat.ID]; u != nil && u.seat != nil {
		st.view.proven(u)
	}
	st.relays[l.w.session] = relayedSession{app: l.w.app, seat: l.seat.ID, since: now}
	st.metrics.sessions.Set(float64(len(st.relays)))
	st.end(l)
	st.changed()
}

// giveBack ends a lease. why is what the seat showed itself to be.
func (st *state) giveBack(l *lease, why refusalMeans) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch why {
	case meansUnreachable:
		st.view.noteUnreachable(l.seat.ID, st.now())
	case meansSick:
		st.view.noteSick(l.seat.ID, st.now())
	}
	st.end(l)
	st.changed()
}

// end ends what a lease counts for, once. mu is held.
func (st *state) end(l *lease) {
	if l.back {
		return
	}
	l.back = true
	st.lending[l.network].open--
	remove(st.holders, l.w.holder, l.w)
}
