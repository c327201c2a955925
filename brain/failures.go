package brain

import (
	"time"

	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/internal/wire"
)

// backOff is how an app's seats have failed to start lately.
type backOff struct {
	version  uint64
	failures int
	last     time.Time
	until    time.Time
	why      wire.End
}

const (
	firstBackOff = time.Second
	maxBackOff   = time.Minute
	// provenAfter is how long a seat must stand idle to count as a success: an app
	// that crashes right after its window came up starts again and again, and
	// the seats of a node that is lost count for six seconds more.
	provenAfter = 20 * time.Second
)

func (b *backOff) fail(version uint64, now time.Time, why wire.End) {
	if b.version != version {
		*b = backOff{version: version}
	}
	// Seats that were dispatched together and fail together are one failure.
	if now.Before(b.until) && b.failures > 0 {
		b.why = why
		return
	}
	b.failures++
	wait := maxBackOff
	if b.failures < 7 {
		wait = firstBackOff << (b.failures - 1)
	}
	b.last, b.until, b.why = now, now.Add(wait), why
}

// noApp is how often in a row Nomad did not know an app, and until when it is not asked again. All
// who wait for it stay: it may have come a moment ago, and if it has gone, Nomad will tell.
type noApp struct {
	times int
	until time.Time
}

// maxNoApp is the longest time between two dispatches of an app that Nomad does not know.
const maxNoApp = 10 * time.Second

func (n *noApp) again(now time.Time) {
	if now.Before(n.until) {
		return // it was dispatched together with others
	}
	n.until = now.Add(min(firstBackOff<<min(n.times, 4), maxNoApp))
	n.times++
}

func (b *backOff) running(version uint64, now time.Time) bool {
	return b.failures > 0 && b.version == version && now.Before(b.until)
}

func (b *backOff) failing(version uint64) bool { return b.failures > 0 && b.version == version }

// proven forgets an app's failures because of a seat that works. The seat must
// have the same version, and must have come up after the last failure: an
// earlier seat does not show how seats start now.
func (v *view) proven(u *unit) {
	if f := u.of.failures; f != nil && f.version == seatVersion(u.seat.Seat) && u.seat.ready.After(f.last) {
		u.of.failures = nil
	}
}

// failing is why seats fail to start, by app, in full.
func (st *state) failing() map[string]string {
	st.mu.Lock()
	defer st.mu.Unlock()
	out, now := map[string]string{}, st.now()
	for id, a := range st.view.apps {
		if end := st.failureNow(a, now); end != nil && a.published {
			out[id] = end.String()
		}
	}
	return out
}

// failureNow is why seats of an app fail to start, nil while they do not, or a node is expected for the first
// one. mu is held.
func (st *state) failureNow(a *appView, now time.Time) *wire.End {
	end := a.failureNow(st.sizes)
	if end != nil && end.Code == wire.CodeNoCapacity && (a.failures == nil || !a.failures.failing(a.app.Version)) && st.awaitsNode(a, now).waits {
		return nil
	}
	return end
}

// failureNow is why seats of an app fail to start, nil while they do not.
func (a *appView) failureNow(nodes []sized) *wire.End {
	if f := a.failures; f != nil && f.failing(a.app.Version) {
		return &f.why
	}
	if a.counts.blocked > 0 && a.idle+a.counts.busy+len(a.coming) == 0 {
		return a.noCapacity(nodes)
	}
	return nil
}

// noCapacity says why no node can take the first of the blocked children.
func (a *appView) noCapacity(nodes []sized) *wire.End {
	if end := a.app.tooLarge(nodes); end != nil {
		return end
	}
	var first *unit
	for u := range a.noNode {
		if first == nil || u.child.ID < first.child.ID {
			first = u
		}
	}
	return &wire.End{Reason: wire.ReasonError, Code: wire.CodeNoCapacity, Detail: first.child.Why}
}

// ended is how a dead child ended, as far as that is known.
func (c Child) ended() wire.End {
	if c.End != nil {
		return *c.End
	}
	return wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the stream host ended without a reason"}
}

// seatDied notes a death, which is a failure to start unless the seat served. mu
// is held.
func (st *state) seatDied(d death, now time.Time) {
	if d.served {
		return // its person learns from the seat how it ended
	}
	end := d.ended()
	switch end.Reason {
	case wire.ReasonRetired, wire.ReasonDrained:
		return
	case wire.ReasonLeft, wire.ReasonLost, wire.ReasonIdle, wire.ReasonTimeLimit:
		return // it served, and its node did not tell in time
	}
	if e := st.view.ended.byChild[d.ID]; e != nil {
		e.failed = &events.Failure{App: d.App, Version: d.Version, End: end, At: now}
	}
	st.startFailed(d.Child, end, now)
}

// startFailed starts or lengthens the app's back-off and tells the people that it
// concerns. A failure of another version concerns nobody: no more seats of it
// are dispatched. mu is held.
func (st *state) startFailed(child Child, end wire.End, now time.Time) {
	app, ok := st.view.app(child.App)
	if !ok || app.Version != child.Version {
		st.log.Info("a seat of an old version failed to start", "app", child.App, "child", child.ID, "end", end.String())
		return
	}
	a := st.view.of(child.App)
	if a.failures == nil {
		a.failures = &backOff{}
	}
	f := a.failures
	f.fail(child.Version, now, end)
	st.view.changed[child.App] = true
	st.metrics.failed(child.App, end)
	st.log.Warn("a seat failed to start", "app", child.App, "child", child.ID, "seat", child.Alloc,
		"end", end.String(), "failures", f.failures, "retry_in", f.until.Sub(now).Round(time.Millisecond))
	hopeless := a.idle+a.old+a.starting+a.counts.busy == 0
	if session := sessionOf(child.Token); !hopeless {
		if w := st.waiters[session]; w != nil && w.app == child.App && w.seat == "" {
			w.end(refused(startFailed(end)))
		}
		return
	}
	if l := st.lines[child.App]; l != nil {
		for _, p := range l.places {
			if p.w != nil && p.w.seat == "" {
				p.w.end(refused(startFailed(end)))
			}
		}
	}
}

// endNoCapacity ends the waiting of people that cannot get a seat: no node can
// take theirs, none is expected, and no other seat can become free. mu is held.
func (st *state) endNoCapacity(id string, now time.Time) {
	l, a := st.lines[id], st.view.apps[id]
	if l == nil || l.own == 0 || a == nil || !a.nodelessNow() {
		return
	}
	end := a.noCapacity(st.sizes)
	if end.Code == wire.CodeNoCapacity && st.awaitsNode(a, now).waits {
		return
	}
	st.endAll(l, ended(*end))
	st.wake() // their children are unneeded now
}

// versionGrace is how much later this brain may hear of a version than a router.
const versionGrace = 3 * time.Second

// endNoVersion ends the waiting of people that asked for a version without a
// seat, now or soon. Only the current version is dispatched. mu is held.
func (st *state) endNoVersion(a *appView, l *line, now time.Time) {
	if l.choosy == 0 {
		return
	}
	for _, p := range l.places {
		if p.w == nil || p.takes(a.app.Version) || p.w.ended || p.w.seat != "" || a.versions[p.version] > 0 {
			continue
		}
		if p.version > a.app.Version && now.Sub(p.w.since) < versionGrace {
			continue // the router may have heard of it first
		}
		p.w.end(refused(noVersion(a.app, p.version)))
	}
}
