package brain

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// seatsChanged takes what Consul says.
func (b *Broker) seatsChanged(seats []wire.Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view.setSeats(seats, b.now())
	b.changed()
}

// jobsChanged takes what Nomad says.
func (b *Broker) jobsChanged(jobs Jobs) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for _, child := range b.view.setJobs(jobs, now) {
		b.seatDied(child, now)
	}
	for _, q := range b.queues {
		b.tellFull(q, now)
	}
	b.changed()
}

// seatDied tells those who waited for a seat that failed to start.
func (b *Broker) seatDied(child Child, now time.Time) {
	l := b.view.seatTracks[child.Alloc]
	if l != nil && !l.busySince.IsZero() {
		return // it served; what came of that its person knows
	}
	end := wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the seat vanished without a word"}
	if child.End != nil {
		end = *child.End
	}
	switch end.Reason {
	case wire.ReasonRetired, wire.ReasonDrained:
		return
	case wire.ReasonLeft, wire.ReasonLost, wire.ReasonIdle, wire.ReasonTimeLimit:
		return // it served, and Consul was too slow to say so
	}
	b.startFailed(child, end, now)
}

// startFailed makes the app's seats wait, and tells its people why. Seats of
// another version are no news: none will be started again.
func (b *Broker) startFailed(child Child, end wire.End, now time.Time) {
	if app, ok := b.view.jobs.Apps[child.App]; !ok || app.Version != child.Version {
		b.log.Info("a seat of another version failed to start", "app", child.App, "child", child.ID, "end", end.String())
		return
	}
	f := b.backOff(child.App)
	f.fail(child.Version, now, end.String())
	b.metrics.failed(child.App, end)
	b.log.Warn("a seat failed to start", "app", child.App, "child", child.ID, "alloc", child.Alloc,
		"end", end.String(), "failures", f.failures, "again_in", f.until.Sub(now).Round(time.Millisecond))
	app := b.view.jobs.Apps[child.App]
	t := b.view.tally(app, b.mine(child.App), now)
	hopeless := t.idle+t.old+t.starting+t.busy == 0
	for _, w := range b.queues[child.App] {
		if w.seat == "" && (hopeless || sessionOf(child.Token) == w.session) {
			w.end(refused(startFailedProblem(end.String())))
		}
	}
}

func (b *Broker) backOff(app string) *backOff {
	f := b.view.failures[app]
	if f == nil {
		f = &backOff{}
		b.view.failures[app] = f
	}
	return f
}

// tellFull ends the waiting of people whom no seat can ever reach: Nomad has no
// node for theirs, and nobody's will be free.
func (b *Broker) tellFull(q queue, now time.Time) {
	if len(q) == 0 {
		return
	}
	id := q[0].app
	t := b.view.tally(b.view.jobs.Apps[id], b.mine(id), now)
	if t.counts.blocked == 0 || t.idle+t.old+t.busy+t.ending+t.allStarting > 0 {
		return
	}
	for _, w := range q {
		w.end(outcome{code: wire.CloseEnded, message: wire.Message{Type: wire.MsgEnded, End: &wire.End{
			Reason: wire.ReasonError, Code: wire.CodeNoCapacity, Detail: t.blocked[0].Why}}})
	}
	b.wake() // nobody waits for their children now
}

// tellVersion ends the waiting of people who asked for a version of which there
// is no seat, and none on its way: only the present version is dispatched.
func (b *Broker) tellVersion(app App, q queue, now time.Time) {
	for _, w := range q {
		asked := w.claims.Version
		if w.takes(app.Version) || w.ended || w.seat != "" || b.view.hasVersion(app.ID, asked, now) {
			continue
		}
		// Her router may have heard of a new version before we did.
		if asked > app.Version && now.Sub(w.since) < versionGrace {
			continue
		}
		w.end(refused(noVersion(app, asked)))
	}
}

// versionGrace is how far one's view of Nomad may lag behind another's.
const versionGrace = 3 * time.Second

// backOff is how seats of an app have failed of late.
type backOff struct {
	version  uint64
	failures int
	last     time.Time
	until    time.Time
	why      string
}

const (
	firstBackOff = time.Second
	maxBackOff   = time.Minute
	// provenAfter is how long a seat must have been idle to count as a success:
	// an app that crashes right after its window came up starts again and again.
	// Consul goes on showing a seat that was killed for ten seconds.
	provenAfter = 20 * time.Second
)

func (b *backOff) fail(version uint64, now time.Time, why string) {
	if b.version != version {
		*b = backOff{version: version}
	}
	// Seats that fail together, because they were dispatched together, are one failure.
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
