package brain

import (
	"context"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const planEvery = time.Second

// planLoop carries out plans: at each change, and once a second because time
// passes too.
func (b *Broker) planLoop(ctx context.Context) {
	tick := time.NewTicker(planEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wakeup:
		case <-tick.C:
			b.passTime()
		}
		b.act(ctx)
	}
}

// act decides and carries it out. It returns when Nomad and the seats have
// answered, so that orders never overtake one another.
func (b *Broker) act(ctx context.Context) {
	d := b.decide()
	var all errgroup.Group
	all.SetLimit(8)
	for _, o := range d.orders {
		all.Go(func() error { b.dispatch(ctx, o); return nil })
	}
	for _, seat := range d.retire {
		all.Go(func() error { b.retire(ctx, seat); return nil })
	}
	for _, id := range d.stop {
		all.Go(func() error { b.stop(id); return nil })
	}
	for _, id := range d.ask {
		all.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			live, err := b.cfg.Nomad.Live(ctx, id)
			if err != nil {
				b.log.Warn("ask what became of a dispatch", "app", id, "error", err)
				return nil
			}
			b.confirmed(id, live)
			return nil
		})
	}
	all.Wait()
}

func (b *Broker) dispatch(ctx context.Context, o order) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	child, err := b.cfg.Nomad.Dispatch(ctx, o.app, o.token)
	if b.dispatched(o, child, err) {
		b.errands.Go(func() { b.keepMax(o.app, child) })
	}
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
	if tooMany(live, child, app.Max) {
		b.log.Info("took a seat back: the app is at its max", "app", app.ID, "child", child, "max", app.Max)
		b.stop(child)
	}
}

// tooMany reports whether a child is beyond max in Nomad's order.
func tooMany(live []string, child string, most int) bool {
	return slices.Index(live, child) >= most
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

func (b *Broker) stop(child string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.cfg.Nomad.Stop(ctx, child); err != nil {
		b.log.Warn("stop a child that nobody needs", "child", child, "error", err)
	}
}
