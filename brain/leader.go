package brain

import (
	"context"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const sweepEvery = 30 * time.Second

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
		b.setLeading(true)
		term, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		all.Go(func() { b.publishLoop(term) })
		all.Go(func() { b.sweepLoop(term) })
		all.Go(func() { b.countLoop(term) })
		select {
		case <-ctx.Done():
		case <-lock.Lost():
			b.log.Warn("no longer keeps the pool", "brain", b.cfg.ID)
		}
		b.setLeading(false)
		stop()
		all.Wait()
		lock.Release()
	}
}

func (b *Broker) setLeading(leading bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leading = leading
	b.metrics.leading(leading)
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
