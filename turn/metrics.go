package turn

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	made, checks      prometheus.Counter
	refusals, drops   *prometheus.CounterVec
	cuts              *prometheus.CounterVec
	toSeats, toPeople prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "nearcast", Subsystem: "turn", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), value)
	}
	m := &metrics{
		made:     counter("relays_total", "Relays that were made."),
		checks:   counter("checks_total", "Relays for checks, which carry nothing."),
		refusals: counters("refusals_total", "Requests refused, by reason: name (forged or of no known secret), expired, quota, ports (none is free), peer (an address of no seat).", "reason"),
		drops:    counters("dropped_packets_total", "Packets of relays dropped, by reason: peer (an address or port of no seat), rate.", "reason"),
		cuts:     counters("cut_total", "Connections by TCP and TLS that were cut, by reason.", "reason"),
		toSeats:  counter("to_seats_bytes_total", "Bytes relayed to seats."),
		toPeople: counter("to_people_bytes_total", "Bytes relayed from seats."),
	}
	if reg != nil {
		reg.MustRegister(m.made, m.checks, m.refusals, m.drops, m.cuts, m.toSeats, m.toPeople,
			gauge("relays", "Relays that exist.", func() float64 { return float64(s.book.count()) }),
			gauge("nodes", "Nodes whose seats relays may reach.", func() float64 { return float64(s.peers.nodes.Load()) }),
			gauge("connections_unproven", "Connections by TCP and TLS without a relay.", func() float64 { n, _, _ := s.conns.guard.Counts(); return float64(n) }))
	}
	return m
}

func (m *metrics) refused(why string) { m.refusals.WithLabelValues(why).Inc() }
func (m *metrics) dropped(why string) { m.drops.WithLabelValues(why).Inc() }
