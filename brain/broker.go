package brain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// poolToken starts the idempotency token of a seat dispatched ahead of need.
const poolToken = "pool/"

// Config is what a Broker is made of.
type Config struct {
	ID       string // of this replica
	Site     string
	Fleet    Fleet
	Nomad    Nomad
	Verifier Verifier
	Log      *slog.Logger          // nil is slog.Default()
	Metrics  prometheus.Registerer // nil is none
}

// Broker is one replica.
type Broker struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	seats   *http.Client // to seats
	plain   *http.Transport

	closing chan struct{} // closed when people are to go to another brain
	shut    sync.Once
	conns   sync.WaitGroup
	errands sync.WaitGroup // short work that Run waits for
	kick    chan struct{}  // wakes the planner

	mu       sync.Mutex
	stopped  bool
	view     *view
	queues   map[string]queue
	waiters  map[string]*waiter  // by session
	attached map[string]attached // by session
	lead     bool
}

// attached is a session that is relayed here.
type attached struct {
	app, seat string
	since     time.Time
}

// New makes a Broker. Run brings it to life.
func New(cfg Config) (*Broker, error) {
	switch {
	case cfg.ID == "" || cfg.Site == "":
		return nil, errors.New("brain: needs an id and a site")
	case cfg.Fleet == nil || cfg.Nomad == nil || cfg.Verifier == nil:
		return nil, errors.New("brain: needs a fleet, a nomad and a verifier")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	// Seats are near or gone: a second is long. No proxy, and no connection
	// kept, because each is upgraded or rare.
	plain := &http.Transport{
		DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
		DisableKeepAlives: true,
	}
	return &Broker{
		cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Metrics),
		plain: plain, seats: &http.Client{Transport: plain, Timeout: 3 * time.Second},
		closing: make(chan struct{}), kick: make(chan struct{}, 1),
		view: newView(), queues: map[string]queue{}, waiters: map[string]*waiter{}, attached: map[string]attached{},
	}, nil
}

// Run watches, plans and dispatches until ctx ends.
func (b *Broker) Run(ctx context.Context) {
	defer b.errands.Wait()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		b.cfg.Fleet.WatchSeats(ctx, func(seats []wire.Seat) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.view.setSeats(seats, time.Now())
			b.changed()
		})
	})
	all.Go(func() { b.cfg.Nomad.Watch(ctx, b.jobsChanged) })
	all.Go(func() { b.leadLoop(ctx) })
	all.Go(func() { b.planLoop(ctx) })
}

// Shutdown sends people to other brains and waits until they are gone or ctx
// ends. Their seats keep streaming.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.shut.Do(func() { close(b.closing) })
	done := make(chan struct{})
	go func() {
		b.conns.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close connections: %w", ctx.Err())
	}
}

// changed follows from any change of what is known or who waits: seats are
// offered, news told, the planner woken. b.mu is held.
func (b *Broker) changed() {
	now := time.Now()
	for app, q := range b.queues {
		b.serve(app, q, now)
	}
	b.wake()
}

func (b *Broker) wake() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// serve offers an app's free seats to its queue and tells each person where she
// stands. b.mu is held.
func (b *Broker) serve(id string, q queue, now time.Time) {
	if len(q) == 0 {
		return
	}
	app, ok := b.view.jobs.Apps[id]
	if !ok && b.view.jobsKnown {
		for _, w := range q {
			w.end(refused(unknownApp(id)))
		}
		return
	}
	q.offer(b.view.freeSeats(id, now), b.view.lives)
	t := b.view.tally(app, b.mine(id), now)
	place := 0
	for _, w := range q {
		if !w.waits() {
			continue // her seat is being claimed, or she is on her way out
		}
		place++
		b.news(w, app, t, place, now)
	}
}

// news tells a person who waits in place (1 is next) where she stands.
func (b *Broker) news(w *waiter, app App, t tally, place int, now time.Time) {
	var m wire.Message
	cold := b.view.cold[w.app].median()
	switch {
	case place <= len(t.coming):
		p := t.coming[place-1].progress
		m = wire.Message{Type: wire.MsgStarting, Progress: &p}
	case b.mayStart(app, t, now):
		m = wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhasePlacing, Fraction: -1}}
	default:
		position := place - len(t.coming)
		left := estimate(position, t.busy, b.view.length[w.app].median())
		if left < 0 && t.ending > 0 && cold > 0 {
			left = cold.Milliseconds() // a place is about to be free for a new seat
		}
		m = wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: position, EstimateMS: left}}
	}
	key := string(m.Type)
	if m.Queue != nil {
		key += fmt.Sprint(*m.Queue)
	} else {
		key += fmt.Sprint(*m.Progress)
	}
	if key != w.told {
		w.told = key
		w.tell(m)
	}
}

// mayStart reports whether the planner can dispatch for people now.
func (b *Broker) mayStart(app App, t tally, now time.Time) bool {
	f := b.view.failures[app.ID]
	return t.counts.blocked == 0 && t.total() < app.Max && (f == nil || !f.running(app.Version, now))
}

// mine tells the tokens of dispatches for this replica's people who wait for an app.
func (b *Broker) mine(app string) func(string) bool {
	sessions := make(map[string]bool, len(b.queues[app]))
	for _, w := range b.queues[app] {
		sessions[w.session] = true
	}
	return func(token string) bool { return sessions[sessionOf(token)] }
}

// enqueue puts a person at the end of her app's line. Who was in line with the
// same session gives way.
func (b *Broker) enqueue(w *waiter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errClosing
	}
	if old := b.waiters[w.session]; old != nil {
		old.end(verdict{code: wire.CloseReplaced})
		w.attempts, w.child, w.used, w.since = old.attempts, old.child, old.used, old.since
		b.drop(old)
	}
	b.waiters[w.session] = w
	b.queues[w.app] = append(b.queues[w.app], w)
	b.metrics.waiting(w.app, len(b.queues[w.app]))
	b.serve(w.app, b.queues[w.app], time.Now())
	b.wake()
	return nil
}

// leave takes a person out of line.
func (b *Broker) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(w)
	b.changed()
}

func (b *Broker) drop(w *waiter) {
	if b.waiters[w.session] == w {
		delete(b.waiters, w.session)
	}
	b.release(w)
	q := b.queues[w.app].without(w)
	if b.queues[w.app] = q; len(q) == 0 {
		delete(b.queues, w.app)
	}
	b.metrics.waiting(w.app, len(q))
}

// release ends an offer.
func (b *Broker) release(w *waiter) {
	if l := b.view.lives[w.seat]; l != nil && w.seat != "" {
		l.reserved = false
	}
	w.seat = ""
	select {
	case <-w.offers:
	default:
	}
}

// declined notes that the seat offered to w cannot be had, and offers the next.
func (b *Broker) declined(w *waiter, seat wire.Seat, reached bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.view.lives[seat.ID]; l != nil {
		if reached {
			l.unwanted = seat.Since
		} else {
			l.unreachable = time.Now()
		}
	}
	b.release(w)
	b.changed()
}

// granted notes that w has the seat.
func (b *Broker) granted(w *waiter, seat wire.Seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.view.lives[seat.ID]; l != nil {
		l.unwanted = seat.Since // until Consul shows it busy
	}
	delete(b.view.failures, w.app)
	b.drop(w)
	b.changed()
}

// markUsed reports whether w's ticket is still to be marked as used, and gives
// the ticket in force.
func (b *Broker) markUsed(w *waiter) (first bool, token string, claims ticket.Claims) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first, w.used = !w.used, true
	return first, w.token, w.claims
}

// renew takes a waiting person's new ticket.
func (b *Broker) renew(w *waiter, claims ticket.Claims, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.claims, w.token = claims, token
}

// jobsChanged takes what Nomad says.
func (b *Broker) jobsChanged(jobs Jobs) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
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
	l := b.view.lives[child.Alloc]
	if l != nil && !l.busySince.IsZero() {
		return // it served; what came of that its person knows
	}
	end := wire.End{Reason: wire.ReasonError, Code: wire.CodeHostDied, Detail: "the seat vanished without a word"}
	if child.End != nil {
		end = *child.End
	}
	switch end.Reason {
	case wire.ReasonRetired, wire.ReasonDrained, wire.ReasonLeft, wire.ReasonLost:
		return
	}
	b.startFailed(child, end, now)
}

// startFailed makes the app's seats wait, and tells its people why.
func (b *Broker) startFailed(child Child, end wire.End, now time.Time) {
	f := b.view.failures[child.App]
	if f == nil {
		f = &backOff{}
		b.view.failures[child.App] = f
	}
	f.fail(child.Version, now, end.String())
	b.metrics.failed(child.App, end)
	b.log.Warn("a seat failed to start", "app", child.App, "child", child.ID, "alloc", child.Alloc,
		"end", end.String(), "failures", f.failures, "again_in", time.Until(f.until).Round(time.Millisecond))
	app := b.view.jobs.Apps[child.App]
	t := b.view.tally(app, b.mine(child.App), now)
	hopeless := t.idle+t.old+t.starting+t.busy == 0
	for _, w := range b.queues[child.App] {
		if w.seat == "" && (hopeless || w.child == child.ID) {
			w.end(refused(startFailedProblem(end.String())))
		}
	}
}

// tellFull ends the waiting of people whom no seat can ever reach: Nomad has no
// node for theirs, and nobody's will be free.
func (b *Broker) tellFull(q queue, now time.Time) {
	if len(q) == 0 {
		return
	}
	id := q[0].app
	t := b.view.tally(b.view.jobs.Apps[id], b.mine(id), now)
	if t.counts.blocked == 0 || t.idle+t.old+t.busy+t.ending+t.allComing > 0 {
		return
	}
	for _, w := range q {
		w.end(verdict{code: wire.CloseEnded, message: wire.Message{Type: wire.MsgEnded, End: &wire.End{
			Reason: wire.ReasonError, Code: wire.CodeNoCapacity, Detail: t.blocked[0].Why}}})
	}
	// Nobody waits for them now. The pool's stay: they are its wish, and Nomad
	// places them when there is room.
	for _, child := range t.blocked {
		if sessionOf(child.Token) != "" && b.mine(id)(child.Token) {
			b.errands.Go(func() { b.stop(child.ID) })
		}
	}
}

func (b *Broker) stop(child string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.cfg.Nomad.Stop(ctx, child); err != nil {
		b.log.Warn("stop a child that nobody needs", "child", child, "error", err)
	}
}

func newPoolToken() string { return poolToken + uuid.NewString() }
