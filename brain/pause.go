package brain

import (
	"context"
	"time"
)

const (
	askConsulEvery  = 500 * time.Millisecond
	askConsulWithin = 2 * time.Second
)

// watchConsul pauses the queues while Consul has no leader. Then no ticket can be
// marked as used, so nobody can be given a seat: people wait, and are told so.
func (b *Broker) watchConsul(ctx context.Context) {
	tick := time.NewTicker(askConsulEvery)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, askConsulWithin)
		err := b.cfg.Fleet.Leader(ask)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if b.state.setPaused(err != nil) {
			if err != nil {
				b.log.Warn("Consul cannot be written to; people wait", "error", err)
			} else {
				b.log.Info("Consul can be written to again; people are served")
			}
		}
		b.metrics.pausedNow(err != nil)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
