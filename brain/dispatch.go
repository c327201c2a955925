package brain

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const planEvery = time.Second

// planner carries out what state decides, at Nomad and at seats.
type planner struct {
	state  *state
	nomad  Nomad
	seats  *seatClient
	log    *slog.Logger
	checks sync.WaitGroup // keepMax calls that still run
	late   lateChecks
}

// loop carries out decisions at each change, and once a second because time
// passes too.
func (p *planner) loop(ctx context.Context) {
	defer p.checks.Wait()
	tick := time.NewTicker(planEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.state.wakeup:
		case <-tick.C:
			p.state.timePassed()
			p.checkLate()
		}
		p.act(ctx)
	}
}

// act carries out one decision. It returns when Nomad and the seats have
// answered, so that orders cannot overtake one another.
func (p *planner) act(ctx context.Context) {
	d := p.state.decide()
	var all errgroup.Group
	all.SetLimit(8)
	for _, o := range d.orders {
		all.Go(func() error { p.dispatch(ctx, o); return nil })
	}
	for _, seat := range d.retire {
		all.Go(func() error { p.retire(ctx, seat); return nil })
	}
	for _, seat := range d.unload {
		all.Go(func() error { p.unload(ctx, seat); return nil })
	}
	for _, o := range d.warn {
		all.Go(func() error { p.warn(ctx, o); return nil })
	}
	for _, o := range d.end {
		all.Go(func() error { p.end(ctx, o); return nil })
	}
	for _, child := range d.stop {
		all.Go(func() error { p.stop(child); return nil })
	}
	for _, app := range d.ask {
		all.Go(func() error { p.ask(ctx, app); return nil })
	}
	all.Wait()
}

func (p *planner) dispatch(ctx context.Context, o order) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	child, err := p.nomad.Dispatch(ctx, o.app, o.token)
	if p.state.dispatched(o, child, err) {
		p.checkMax(o.app, child)
	}
}

// retire asks an idle seat to end. A seat that was claimed meanwhile declines
// and goes on.
func (p *planner) retire(ctx context.Context, seat wire.Seat) {
	status, err := p.seats.retire(ctx, seat, wire.RetireRequest{})
	if err != nil || status != http.StatusNoContent && status != http.StatusConflict {
		p.log.Warn("cannot retire an idle seat", "seat", seat.ID, "status", status, "error", err)
		return
	}
	if status == http.StatusConflict {
		p.state.keptOn(seat.ID)
		return
	}
	if status == http.StatusNoContent {
		p.log.Info("retired an idle seat", "seat", seat.ID, "app", seat.App, "version", seatVersion(seat))
	}
}

// unload asks a seat to end that fetches content which nobody needs. One that has its content
// meanwhile declines, and so does one of an earlier release.
func (p *planner) unload(ctx context.Context, seat wire.Seat) {
	status, err := p.seats.retire(ctx, seat, wire.RetireRequest{Fetching: true})
	switch {
	case err != nil || status != http.StatusNoContent && status != http.StatusConflict:
		p.log.Warn("cannot stop a fetch that nobody needs", "seat", seat.ID, "status", status, "error", err)
	case status == http.StatusConflict:
		p.state.fetchesOn(seat.ID)
	case status == http.StatusNoContent:
		p.log.Info("stopped a fetch that nobody needs", "seat", seat.ID, "app", seat.App, "version", seatVersion(seat))
	}
}

func (p *planner) stop(child string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.nomad.Stop(ctx, child); err != nil {
		p.log.Warn("cannot stop a child that nobody needs", "child", child, "error", err)
	}
}

// ask asks Nomad's servers about dispatches that no event has shown in time.
func (p *planner) ask(ctx context.Context, app string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	live, err := p.nomad.Live(ctx, app)
	if err != nil {
		p.log.Warn("cannot check a dispatch that no event has shown", "app", app, "error", err)
		return
	}
	p.state.settle(app, live)
}
