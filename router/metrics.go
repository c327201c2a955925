package router

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what an operator alerts on, and no more.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	placements *prometheus.CounterVec
}

func newMetrics(view View) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nearcast_router_requests_total",
			Help: "Requests, by the route that took them and the status they got.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nearcast_router_request_seconds",
			Help:    "How long requests took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5},
		}, []string{"route"}),
		placements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nearcast_router_placements_total",
			Help: "Sessions placed, by site and by where the round trip to it was known from.",
		}, []string{"site", "source"}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nearcast_router_view_age_seconds",
		Help: "Since when the world is out of sight; 0 while it is not, -1 before it was seen.",
	}, func() float64 {
		switch s := view.Snapshot(); {
		case !s.Ready:
			return -1
		case s.Stale():
			return time.Since(s.StaleSince).Seconds()
		}
		return 0
	})
	m.registry.MustRegister(m.requests, m.seconds, m.placements, age,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func (m *metrics) request(route, method string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, http.MethodOptions:
	default:
		method = "other" // the caller's invention must not become a time series
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m *metrics) placed(site, source string) { m.placements.WithLabelValues(site, source).Inc() }
