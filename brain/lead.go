package brain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	planEvery    = time.Second
	publishEvery = 250 * time.Millisecond
	sweepEvery   = 30 * time.Second
)

// sessionOf is the session that a dispatch's token was made for; empty for the pool's.
func sessionOf(token string) string {
	if strings.HasPrefix(token, poolToken) {
		return ""
	}
	session, _, _ := strings.Cut(token, "/")
	return session
}

// planLoop carries out plans: at each change, and once a second because time
// passes too.
func (b *Broker) planLoop(ctx context.Context) {
	tick := time.NewTicker(planEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.kick:
		case <-tick.C:
			b.mu.Lock()
			b.passTime()
			b.mu.Unlock()
		}
		b.act(ctx)
	}
}

// passTime notes what follows from time alone. b.mu is held.
func (b *Broker) passTime() {
	now := time.Now()
	v := b.view
	for _, s := range v.seats {
		if f := v.failures[s.App]; f != nil && s.State == wire.SeatIdle && now.Sub(s.Since) > provenAfter && s.Since.After(f.last) {
			delete(v.failures, s.App)
		}
	}
	for token, d := range v.underway {
		if d.child != "" && now.Sub(d.at) > 30*time.Second {
			delete(v.underway, token) // Nomad never showed it
		}
	}
	for id, q := range b.queues {
		b.tellFull(q, now)
		b.serve(id, q, now)
	}
}

// order is one dispatch to be made.
type order struct {
	app   App
	token string
	w     *waiter // whom it is for; nil is the pool
}

// act plans every app and carries the plans out. It returns when Nomad and the
// seats have answered, so that orders never overtake one another.
func (b *Broker) act(ctx context.Context) {
	var (
		orders  []order
		retire  []wire.Seat
		zombies []string
	)
	now := time.Now()
	b.mu.Lock()
	if !b.view.known() {
		b.mu.Unlock()
		return
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
		for _, w := range b.queues[id] {
			if w.waits() {
				waiting = append(waiting, w)
			}
		}
		// Seats that are offered this moment are as good as taken.
		idle := t.idleSeats[:0]
		for _, s := range t.idleSeats {
			if l := b.view.lives[s.id]; l.reserved {
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
			warm: app.Warm, max: app.Max, counts: t.counts, idle: idle, waiting: len(waiting),
			lead: b.lead, gone: !published, backOff: f != nil && f.running(app.Version, now),
		})
		orders = append(orders, b.orders(app, m, waiting, t, now)...)
		for _, seat := range m.retire {
			b.view.lives[seat].retiring = now
			retire = append(retire, b.view.seats[seat])
		}
	}
	if b.lead {
		for id, child := range b.view.jobs.Children {
			if child.Restarting {
				zombies = append(zombies, id)
			}
		}
	}
	b.mu.Unlock()

	var all errgroup.Group
	all.SetLimit(8)
	for _, o := range orders {
		all.Go(func() error { b.dispatch(ctx, o); return nil })
	}
	for _, seat := range retire {
		all.Go(func() error { b.retire(ctx, seat); return nil })
	}
	for _, id := range zombies {
		all.Go(func() error { b.stop(id); return nil })
	}
	all.Wait()
}

// orders makes a plan's dispatches, and counts them as under way. b.mu is held.
func (b *Broker) orders(app App, m move, waiting []*waiter, t tally, now time.Time) []order {
	var out []order
	add := func(token string, w *waiter) {
		b.view.underway[token] = dispatched{app: app.ID, version: app.Version, at: now}
		out = append(out, order{app: app, token: token, w: w})
	}
	alive := map[string]bool{}
	for _, c := range t.coming {
		alive[sessionOf(c.token)] = true
	}
	for _, w := range waiting {
		if len(out) == m.people {
			break
		}
		if alive[w.session] {
			continue // hers is on the way already
		}
		w.attempts++
		// The session itself is the token, so that two brains start one seat for
		// one person. A second seat for her, after hers went to somebody else,
		// must not be taken for the first.
		token := w.session
		if w.attempts > 1 {
			token += "/" + strconv.Itoa(w.attempts)
		}
		add(token, w)
	}
	for range m.pool {
		add(newPoolToken(), nil)
	}
	return out
}

func (b *Broker) dispatch(ctx context.Context, o order) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	child, err := b.cfg.Nomad.Dispatch(ctx, o.app, o.token)
	b.metrics.dispatched(o.app.ID, err)
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		delete(b.view.underway, o.token)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) || errors.Is(err, ErrNoApp) {
			return // we are being stopped, or the app is: the view will say so
		}
		b.startFailed(Child{App: o.app.ID, Version: o.app.Version, ID: child}, wire.End{
			Reason: wire.ReasonError, Detail: fmt.Sprintf("Nomad did not take the seat: %v", err)}, now)
		return
	}
	if o.w != nil {
		o.w.child = child
	}
	known, shown := b.view.jobs.Children[child]
	switch {
	case shown && known.State == ChildDead:
		// An earlier brain of hers dispatched this one; the next attempt is a new one.
		delete(b.view.underway, o.token)
		b.wake()
		return
	case shown:
		delete(b.view.underway, o.token)
	default:
		d := b.view.underway[o.token]
		d.child = child
		b.view.underway[o.token] = d
	}
	b.log.Info("dispatched a seat", "app", o.app.ID, "version", o.app.Version, "child", child, "for", sessionOf(o.token))
	b.errands.Go(func() { b.keepMax(o.app, child) })
}

// keepMax takes a seat back that is one too many: another replica dispatched at
// the same moment. Nomad's order of creation says which is.
func (b *Broker) keepMax(app App, child string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	live, err := b.cfg.Nomad.Live(ctx, app.ID)
	if err != nil {
		b.log.Warn("count an app's seats", "app", app.ID, "error", err)
		return
	}
	for i, id := range live {
		if id == child && i >= app.Max {
			b.log.Info("took a seat back: the app is at its max", "app", app.ID, "child", child, "max", app.Max)
			b.stop(child)
			b.mu.Lock()
			for token, d := range b.view.underway {
				if d.child == child {
					delete(b.view.underway, token)
				}
			}
			b.mu.Unlock()
			return
		}
	}
}

// retire asks an idle seat to end. A seat that was claimed meanwhile says no,
// and that is well.
func (b *Broker) retire(ctx context.Context, seat wire.Seat) {
	status, err := b.post(ctx, seat.Address, wire.RetirePath, struct{}{})
	if err != nil || status != http.StatusNoContent && status != http.StatusConflict {
		b.log.Warn("retire an idle seat", "seat", seat.ID, "status", status, "error", err)
		return
	}
	if status == http.StatusNoContent {
		b.log.Info("retired an idle seat", "seat", seat.ID, "app", seat.App, "version", seatVersion(seat))
	}
}

// post sends a request to a seat's control address.
func (b *Broker) post(ctx context.Context, address, path string, body any) (int, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.seats.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// leadLoop competes for the pool lock, and leads while it holds it.
func (b *Broker) leadLoop(ctx context.Context) {
	for ctx.Err() == nil {
		lock, err := b.cfg.Fleet.Lock(ctx, wire.PoolLock)
		if err != nil {
			if ctx.Err() == nil {
				b.log.Error("compete for the pool lock", "error", err)
			}
			return
		}
		b.log.Info("keeps the pool", "brain", b.cfg.ID)
		b.setLead(true)
		term, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		all.Go(func() { b.publishLoop(term) })
		all.Go(func() { b.sweepLoop(term) })
		select {
		case <-ctx.Done():
		case <-lock.Lost():
			b.log.Warn("no longer keeps the pool", "brain", b.cfg.ID)
		}
		b.setLead(false)
		stop()
		all.Wait()
		lock.Release()
	}
}

func (b *Broker) setLead(lead bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lead = lead
	b.metrics.leading(lead)
	b.wake()
}

func (b *Broker) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if n, err := b.cfg.Fleet.SweepTickets(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("sweep used tickets", "error", err)
		} else if n > 0 {
			b.log.Debug("swept used tickets", "count", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// publishLoop keeps what routers read equal to what is so. It compares with
// what stands in Consul, not with what it wrote: so it also removes what an
// earlier leader left, and fills a Consul that has lost its memory.
func (b *Broker) publishLoop(ctx context.Context) {
	var (
		mu        sync.Mutex
		published map[string]wire.App
		watching  sync.WaitGroup
	)
	defer watching.Wait()
	watching.Go(func() {
		b.cfg.Fleet.WatchApps(ctx, func(apps map[string]wire.App) {
			mu.Lock()
			defer mu.Unlock()
			published = apps
		})
	})
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	failing := false // an outage is told once
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var err error
		mu.Lock()
		there := published
		mu.Unlock()
		want, known := b.apps(time.Now())
		if there == nil || !known {
			continue
		}
		for id, app := range want {
			app.Updated = there[id].Updated
			if _, ok := there[id]; ok && there[id] == app {
				continue
			}
			app.Updated = time.Now().UTC()
			err = errors.Join(err, b.cfg.Fleet.PublishApp(ctx, app))
		}
		for id := range there {
			if _, ok := want[id]; !ok {
				err = errors.Join(err, b.cfg.Fleet.RemoveApp(ctx, id))
			}
		}
		if err != nil && !failing && ctx.Err() == nil {
			b.log.Warn("routers do not hear of this site's apps; trying on", "error", err)
		}
		failing = err != nil
	}
}

// apps is what routers are to know.
func (b *Broker) apps(now time.Time) (map[string]wire.App, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]wire.App, len(b.view.jobs.Apps))
	for id, app := range b.view.jobs.Apps {
		t := b.view.tally(app, b.mine(id), now)
		c := wire.Capacity{
			Idle: t.idle + t.old, Busy: t.busy + t.ending, Starting: t.allComing + t.counts.blocked,
			Queued: len(b.queues[id]), Warm: app.Warm, Max: app.Max,
			ColdStartMS: b.view.cold[id].median().Milliseconds(),
		}
		if f := b.view.failures[id]; f != nil && f.failing(app.Version) {
			c.Failing = f.why
		} else if t.counts.blocked > 0 && t.idle+t.busy+t.allComing == 0 {
			c.Failing = wire.CodeNoCapacity + ": " + t.blocked[0].Why
		}
		out[id] = wire.App{ID: id, Version: app.Version, Title: app.Title, Description: app.Description,
			Picture: app.Picture, Display: app.Display, Capacity: c}
	}
	return out, b.view.known()
}
