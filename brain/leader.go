package brain

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

const sweepEvery = 30 * time.Second

// leader does what only one brain of a site does: it publishes, tells of events, and sweeps used
// tickets. While it leads, its state also plans the warm pool.
type leader struct {
	id    string // of this replica
	me    *identity.Identity
	site  wire.SiteInfo
	state *state
	fleet Fleet
	log   *slog.Logger
	// events may be nil.
	events Events
}

// loop competes for the pool lock, and leads while it holds the lock.
func (l *leader) loop(ctx context.Context) {
	for ctx.Err() == nil {
		lock, err := l.fleet.Lock(ctx, wire.PoolLock)
		if err != nil {
			if ctx.Err() == nil {
				l.log.Error("cannot get the pool lock", "error", err)
			}
			return
		}
		l.log.Info("became leader", "brain", l.id)
		l.state.setLeading(true)
		term, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		all.Go(func() { l.publishLoop(term) })
		all.Go(func() { l.sweepLoop(term) })
		if l.events != nil {
			all.Go(func() { l.events.Lead(term, l.state.snapshot) })
		}
		select {
		case <-ctx.Done():
		case <-lock.Lost():
			l.log.Warn("lost the pool lock", "brain", l.id)
		}
		l.state.setLeading(false)
		stop()
		all.Wait()
		lock.Release()
	}
}

func (l *leader) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if n, err := l.fleet.SweepTickets(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("cannot sweep used tickets", "error", err)
		} else if n > 0 {
			l.log.Debug("swept used tickets", "count", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
