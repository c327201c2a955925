package events

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	derived    *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	seconds    prometheus.Histogram
	dropped    *prometheus.CounterVec
	pending    *prometheus.GaugeVec
	failing    *prometheus.GaugeVec
	store      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "nearcast", Subsystem: "brain", Name: name, Help: help}
	}
	m := &metrics{
		derived:    prometheus.NewCounterVec(prometheus.CounterOpts(opts("events_total", "Events of the site that this leader has told, by type, for whichever webhooks.")), []string{"type"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts(opts("webhook_deliveries_total", "Attempts to deliver an event, by webhook and result: ok, failed.")), []string{"webhook", "result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "nearcast", Subsystem: "brain", Name: "webhook_seconds",
			Help: "Time of an attempt to deliver an event.", Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15}}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts(opts("webhook_dropped_total", "Events that were not delivered within a day, or were too many.")), []string{"webhook"}),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("webhook_pending", "Events that wait for delivery.")), []string{"webhook"}),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("webhook_failing_seconds", "For how long no delivery has succeeded, while they fail; else 0.")), []string{"webhook"}),
		store:   prometheus.NewCounter(prometheus.CounterOpts(opts("events_store_failures_total", "Failures of the store of events (--events). Events wait meanwhile."))),
	}
	if reg != nil {
		reg.MustRegister(m.derived, m.deliveries, m.seconds, m.dropped, m.pending, m.failing, m.store)
	}
	return m
}

func (m *metrics) sent(webhook string, err error, took time.Duration) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.deliveries.WithLabelValues(webhook, result).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) lost(webhook string, n int) { m.dropped.WithLabelValues(webhook).Add(float64(n)) }

func (m *metrics) storeFailed() { m.store.Inc() }

// forget drops the gauges of a webhook that is revoked, or of a leader that is none any more.
func (m *metrics) forget(webhook string) {
	m.pending.DeleteLabelValues(webhook)
	m.failing.DeleteLabelValues(webhook)
}
