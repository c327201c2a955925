package router

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what an operator needs for alerts, and no more.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	placements *prometheus.CounterVec
	limits     *prometheus.CounterVec
}

func newMetrics(r *Router) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nearcast_router_requests_total",
			Help: "Requests, by route, method and HTTP status.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nearcast_router_request_seconds",
			Help:    "Time to answer a request.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1, 5},
		}, []string{"route"}),
		placements: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nearcast_router_placements_total",
			Help: "Sessions placed, by site and by the source of the round trip: measured, predicted or assumed.",
		}, []string{"site", "source"}),
		limits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nearcast_router_limited_total",
			Help: "Requests refused with 429, by kind (launch, login, request, list) and by what had too many (near: an address or a /64, wide: a /24 or a /48; subject: that of launch tokens; key: an API key).",
		}, []string{"kind", "network"}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "nearcast_router_view_age_seconds",
		Help: "How long Consul has not answered; 0 while it answers, -1 before its first answer.",
	}, func() float64 {
		switch s := r.cfg.View.Snapshot(); {
		case !s.Ready:
			return -1
		case s.Stale():
			return time.Since(s.StaleSince).Seconds()
		}
		return 0
	})
	m.registry.MustRegister(m.requests, m.seconds, m.placements, m.limits, age, siteCollector{r},
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
		method = "other" // a caller must not be able to create time series
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m *metrics) limited(kind, network string) { m.limits.WithLabelValues(kind, network).Inc() }

func (m *metrics) placed(site, source string) { m.placements.WithLabelValues(site, source).Inc() }

// siteCollector has the metrics of each site. It reads the view, so that a site
// that is gone leaves no time series.
type siteCollector struct{ r *Router }

var (
	siteHealthy = prometheus.NewDesc("nearcast_router_site_healthy",
		"1 if sessions can be placed at the site, else 0.", []string{"site"}, nil)
	siteRTT = prometheus.NewDesc("nearcast_router_site_rtt_seconds",
		"Round trip from this router to a router of the site, as measured; none while it was not.", []string{"site"}, nil)
	siteMisses = prometheus.NewDesc("nearcast_router_site_check_failures_total",
		"Checks that the site's routers did not answer in time.", []string{"site"}, nil)
)

func (siteCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- siteHealthy
	ch <- siteRTT
	ch <- siteMisses
}

func (c siteCollector) Collect(ch chan<- prometheus.Metric) {
	table, err := c.r.siteTable()
	if err != nil {
		return
	}
	for i := range table.view.Sites {
		s := &table.view.Sites[i]
		healthy := 0.0
		if table.sites[i].unhealthy == "" {
			healthy = 1
		}
		ch <- prometheus.MustNewConstMetric(siteHealthy, prometheus.GaugeValue, healthy, s.Name)
		if s.Reach.RTTMS > 0 {
			ch <- prometheus.MustNewConstMetric(siteRTT, prometheus.GaugeValue, s.Reach.RTTMS/1000, s.Name)
		}
		if i != table.entry {
			ch <- prometheus.MustNewConstMetric(siteMisses, prometheus.CounterValue, float64(s.Reach.Misses), s.Name)
		}
	}
}
