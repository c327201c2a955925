package brain

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/wire"
)

type metrics struct {
	sessions   prometheus.Gauge
	queue      *prometheus.GaugeVec
	claims     *prometheus.CounterVec
	refusals   *prometheus.CounterVec
	dispatches *prometheus.CounterVec
	failures   *prometheus.CounterVec
	leader     prometheus.Gauge
	firstClaim prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "nearcast", Subsystem: "brain", Name: name, Help: help}
	}
	m := &metrics{
		sessions:   prometheus.NewGauge(prometheus.GaugeOpts(opts("sessions", "Sessions that this replica relays."))),
		queue:      prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("waiting", "People that wait at this replica.")), []string{"app"}),
		claims:     prometheus.NewCounterVec(prometheus.CounterOpts(opts("claims_total", "Claims of seats by result: granted, resumed, lost (another brain was first), refused (the ticket), unreachable.")), []string{"result"}),
		refusals:   prometheus.NewCounterVec(prometheus.CounterOpts(opts("refusals_total", "Connections refused, by problem type.")), []string{"problem"}),
		dispatches: prometheus.NewCounterVec(prometheus.CounterOpts(opts("dispatches_total", "Seats dispatched at Nomad, by app and result.")), []string{"app", "result"}),
		failures:   prometheus.NewCounterVec(prometheus.CounterOpts(opts("start_failures_total", "Seats that died before they served, by app and code.")), []string{"app", "code"}),
		leader:     prometheus.NewGauge(prometheus.GaugeOpts(opts("leader", "1 while this replica is the leader, else 0."))),
		firstClaim: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "nearcast", Subsystem: "brain",
			Name: "grant_seconds", Help: "Time from the opening of the WebSocket to the grant, waiting included.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}),
	}
	if reg != nil {
		reg.MustRegister(m.sessions, m.queue, m.claims, m.refusals, m.dispatches, m.failures, m.leader, m.firstClaim)
	}
	return m
}

func (m *metrics) waiting(app string, n int) { m.queue.WithLabelValues(app).Set(float64(n)) }

func (m *metrics) dispatched(app string, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.dispatches.WithLabelValues(app, result).Inc()
}

func (m *metrics) failed(app string, end wire.End) {
	code := end.Code
	if code == "" {
		code = string(end.Reason)
	}
	m.failures.WithLabelValues(app, code).Inc()
}

func (m *metrics) leading(is bool) {
	if is {
		m.leader.Set(1)
	} else {
		m.leader.Set(0)
	}
}
