package brain

import (
	"time"

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
	// that crashes right after its window came up starts again and again. Consul
	// shows a seat that was killed for ten seconds more.
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

func (b *backOff) running(version uint64, now time.Time) bool {
	return b.failures > 0 && b.version == version && now.Before(b.until)
}

func (b *backOff) failing(version uint64) bool { return b.failures > 0 && b.version == version }

// backOff is an app's back-off. It is made where there is none.
func (v *view) backOff(app string) *backOff {
	f := v.failures[app]
	if f == nil {
		f = &backOff{}
		v.failures[app] = f
	}
	return f
}

// failureOf is an app's back-off, nil while nothing fails.
func (v *view) failureOf(app string) *backOff { return v.failures[app] }

// failing is why seats fail to start, by app, in full.
func (st *state) failing() map[string]string {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := map[string]string{}
	for id, app := range st.view.apps() {
		if end := st.view.failureNow(app, st.view.tally(app, st.ownTokens(id), st.now())); end != nil {
			out[id] = end.String()
		}
	}
	return out
}

// failureNow is why seats of an app fail to start, nil while they do not.
func (v *view) failureNow(app App, t tally) *wire.End {
	if f := v.failureOf(app.ID); f != nil && f.failing(app.Version) {
		return &f.why
	}
	if t.counts.blocked > 0 && t.idle+t.busy+t.allStarting == 0 {
		return &wire.End{Reason: wire.ReasonError, Code: wire.CodeNoCapacity, Detail: t.blocked[0].Why}
	}
	return nil
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
func (st *state) seatDied(child Child, now time.Time) {
	if st.view.served(child.Alloc) {
		return // its person learns from the seat how it ended
	}
	end := child.ended()
	switch end.Reason {
	case wire.ReasonRetired, wire.ReasonDrained:
		return
	case wire.ReasonLeft, wire.ReasonLost, wire.ReasonIdle, wire.ReasonTimeLimit:
		return // it served, and Consul did not show it in time
	}
	st.startFailed(child, end, now)
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
	f := st.view.backOff(child.App)
	f.fail(child.Version, now, end)
	st.metrics.failed(child.App, end)
	st.log.Warn("a seat failed to start", "app", child.App, "child", child.ID, "alloc", child.Alloc,
		"end", end.String(), "failures", f.failures, "retry_in", f.until.Sub(now).Round(time.Millisecond))
	t := st.view.tally(app, st.ownTokens(child.App), now)
	hopeless := t.idle+t.old+t.starting+t.busy == 0
	for _, w := range st.queues[child.App] {
		if w.seat == "" && (hopeless || sessionOf(child.Token) == w.session) {
			w.end(refused(startFailed(end)))
		}
	}
}

// endNoCapacity ends the waiting of people that cannot get a seat: no node can
// take theirs, and no other seat can become free. mu is held.
func (st *state) endNoCapacity(q queue, now time.Time) {
	if len(q) == 0 {
		return
	}
	id := q[0].app
	app, _ := st.view.app(id)
	t := st.view.tally(app, st.ownTokens(id), now)
	if t.counts.blocked == 0 || t.idle+t.old+t.busy+t.ending+t.allStarting > 0 {
		return
	}
	for _, w := range q {
		w.end(ended(wire.End{Reason: wire.ReasonError, Code: wire.CodeNoCapacity, Detail: t.blocked[0].Why}))
	}
	st.wake() // their children are unneeded now
}

// versionGrace is how much later this brain may hear of a version than a router.
const versionGrace = 3 * time.Second

// endNoVersion ends the waiting of people that asked for a version without a
// seat, now or soon. Only the current version is dispatched. mu is held.
func (st *state) endNoVersion(app App, q queue, now time.Time) {
	for _, w := range q {
		asked := w.claims.Version
		if w.takes(app.Version) || w.ended || w.seat != "" || st.view.hasVersion(app.ID, asked, now) {
			continue
		}
		if asked > app.Version && now.Sub(w.since) < versionGrace {
			continue // the router may have heard of it first
		}
		w.end(refused(noVersion(app, asked)))
	}
}
