package events

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/wire"
)

// None stands in for a Keeper in a brain without a store. It tells operators when webhooks are
// registered that get nothing.
type None struct {
	registry Registry
	log      *slog.Logger
	unserved prometheus.Gauge
}

// NewNone makes a None. Of cfg it needs no Store.
func NewNone(cfg Config) *None {
	n := &None{registry: cfg.Registry, log: cfg.Log, unserved: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "nearcast", Subsystem: "brain", Name: "webhooks_unserved",
		Help: "Webhooks that are registered and get nothing, since this leader runs without --events."})}
	if n.log == nil {
		n.log = slog.Default()
	}
	if cfg.Metrics != nil {
		cfg.Metrics.MustRegister(n.unserved)
	}
	return n
}

// Lead watches which webhooks are registered until ctx ends.
func (n *None) Lead(ctx context.Context, _ func() (Snapshot, bool)) {
	defer n.unserved.Set(0)
	warned := false
	n.registry.WatchWebhooks(ctx, func(all map[string]wire.Webhook) {
		n.unserved.Set(float64(len(all)))
		if len(all) > 0 && !warned {
			warned = true
			n.log.Warn("webhooks are registered, and get nothing: run all brains of the site with --events", "webhooks", len(all))
		}
	})
}
