package brain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/guard"
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
	cuts       *prometheus.CounterVec
	drops      prometheus.Counter
	sick       *prometheus.CounterVec
	clocks     *prometheus.GaugeVec
	paused     prometheus.Gauge
	inSession  *sessionMetrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "nearcast", Subsystem: "brain", Name: name, Help: help}
	}
	m := &metrics{
		sessions:   prometheus.NewGauge(prometheus.GaugeOpts(opts("sessions", "Sessions that this replica relays."))),
		queue:      prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("waiting", "People that wait at this replica.")), []string{"app"}),
		claims:     prometheus.NewCounterVec(prometheus.CounterOpts(opts("claims_total", "Claims of seats by result: granted, resumed, prepared (before Play, and then granted with it), lost (another brain was first), refused (the ticket), unreachable.")), []string{"result"}),
		refusals:   prometheus.NewCounterVec(prometheus.CounterOpts(opts("refusals_total", "Connections refused, by problem type.")), []string{"problem"}),
		dispatches: prometheus.NewCounterVec(prometheus.CounterOpts(opts("dispatches_total", "Seats dispatched at Nomad, by app and result.")), []string{"app", "result"}),
		failures:   prometheus.NewCounterVec(prometheus.CounterOpts(opts("start_failures_total", "Seats that died before they served, by app and code.")), []string{"app", "code"}),
		leader:     prometheus.NewGauge(prometheus.GaugeOpts(opts("leader", "1 while this replica is the leader, else 0."))),
		firstClaim: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "nearcast", Subsystem: "brain",
			Name: "grant_seconds", Help: "Time from the opening of the WebSocket to the grant, waiting included.",
			Buckets: []float64{.002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}}),
	}
	m.cuts = prometheus.NewCounterVec(prometheus.CounterOpts(opts("cuts_total", "Connections cut or refused for what they do, by reason: oldest (another needed the place), late, hello (not proven in time), slow (a message trickled), flood, unread (the person does not read), silent (no answer to a ping), bytes, network (too many of one network), full, lobby (more come than the brain can take in).")), []string{"why"})
	m.drops = prometheus.NewCounter(prometheus.CounterOpts(opts("candidates_dropped_total", "ICE candidates beyond what a session may send.")))
	m.sick = prometheus.NewCounterVec(prometheus.CounterOpts(opts("sick_seats_total", "Seats set aside because they refused a good ticket, by node. Look at the node's clock and its ticket keys.")), []string{"node"})
	m.clocks = prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("node_clock_offset_seconds", "How far the clock of a node was ahead of this brain's when a seat of it refused a good ticket last.")), []string{"node"})
	m.paused = prometheus.NewGauge(prometheus.GaugeOpts(opts("paused", "1 while Consul cannot be written to, so that nobody is given a seat, else 0.")))
	m.inSession = newSessionMetrics(reg)
	if reg != nil {
		reg.MustRegister(m.cuts, m.drops, m.sick, m.clocks, m.paused)
		reg.MustRegister(m.sessions, m.queue, m.claims, m.refusals, m.dispatches, m.failures, m.leader, m.firstClaim)
	}
	return m
}

func (m *metrics) cut(why string) { m.cuts.WithLabelValues(why).Inc() }

func (m *metrics) sickSeat(node string, clock *time.Duration) {
	m.sick.WithLabelValues(node).Inc()
	if clock != nil {
		m.clocks.WithLabelValues(node).Set(clock.Seconds())
	}
}

func (m *metrics) pausedNow(is bool) {
	m.paused.Set(0)
	if is {
		m.paused.Set(1)
	}
}

func (m *metrics) dropped() { m.drops.Inc() }

// guarded shows what a guard counts.
func guarded(reg prometheus.Registerer, g *guard.Guard) {
	if reg == nil {
		return
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "nearcast", Subsystem: "brain", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	reg.MustRegister(
		gauge("connections_unproven", "Connections that have shown no good ticket yet.", func() int { n, _, _ := g.Counts(); return n }),
		gauge("connections_proven", "Connections of people with a good ticket.", func() int { _, n, _ := g.Counts(); return n }),
		gauge("held_bytes", "Bytes of messages that are held for people.", func() int { _, _, n := g.Counts(); return n }))
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
