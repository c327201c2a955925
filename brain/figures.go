package brain

import (
	"cmp"
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/wire"
)

// hears is told what metrics are made of.
type hears struct {
	measured func(app App, m wire.Measured) // by a seat
	over     func(app App, q wire.Quality)  // a session
	dropped  func(app string)               // nothing is left of it
}

func deaf() hears {
	return hears{measured: func(App, wire.Measured) {}, over: func(App, wire.Quality) {}, dropped: func(string) {}}
}

// figures passes on what is new in a seat's record about its session: each Measured once, and a
// Quality once, when the session ends. Of a seat that is no seat it passes on nothing.
func (v *view) figures(t *seatTrack, s wire.Seat) {
	if t.unit == nil {
		return
	}
	app := t.unit.of.app
	if s.Measured != nil && (t.Measured == nil || !t.Measured.At.Equal(s.Measured.At)) {
		v.hears.measured(app, *s.Measured)
	}
	if s.State == wire.SeatEnding && t.State != wire.SeatEnding && s.Quality != nil {
		v.hears.over(app, *s.Quality)
	}
}

// over passes on what a session was like whose seat is gone without a word, with its node or because
// its stream host died.
func (v *view) over(t *seatTrack) {
	if t.unit != nil && t.State.Busy() && t.Quality != nil {
		v.hears.over(t.unit.of.app, *t.Quality)
	}
}

// sessionMetrics are what sessions are like, by app and node pool. The leader alone has them, so that
// a sum over a site's brains counts each session once. A session's id is no label: there would be
// a series for each that ever was.
//
// The state's mu is held where they are used, but for reading them.
type sessionMetrics struct {
	all  []*prometheus.HistogramVec
	kept map[appPool]observers

	rtt, loss, fps, paints, bits, capture, encode, queue, inject *prometheus.HistogramVec
	pageFPS, frozen, concealed                                   *prometheus.HistogramVec
	duration, frozenInAll                                        *prometheus.HistogramVec
}

// appPool are the labels of a series.
type appPool struct{ app, pool string }

// observers are those of an app that were used, so that their labels are not looked up for each figure.
type observers map[*prometheus.HistogramVec]prometheus.Observer

var (
	shares  = []float64{.001, .005, .01, .02, .05, .1, .2, .5}
	shorts  = []float64{.0005, .001, .002, .004, .008, .016, .033, .066, .133, .25, .5}
	trips   = []float64{.005, .01, .02, .03, .05, .075, .1, .15, .2, .3, .5, 1}
	rates   = []float64{1, 5, 10, 15, 20, 24, 28, 32, 45, 58, 75, 100}
	lengths = []float64{10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800}
)

func newSessionMetrics(reg prometheus.Registerer) *sessionMetrics {
	m := &sessionMetrics{kept: map[appPool]observers{}}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "nearcast", Subsystem: "session", Name: name, Help: help, Buckets: buckets}, []string{"app", "pool"})
		m.all = append(m.all, v)
		if reg != nil {
			reg.MustRegister(v)
		}
		return v
	}
	m.rtt = histogram("rtt_seconds", "Round trip between seat and browser, of each session every 10 s. At the leader.", trips)
	m.loss = histogram("loss_ratio", "Share of the picture's packets that did not arrive at first, of each session every 10 s. At the leader.", shares)
	m.fps = histogram("pictures_per_second", "Pictures that were sent, of each session every 10 s. At the leader.", rates)
	m.paints = histogram("paints_per_second", "Pictures in which the app had changed something, of each session every 10 s. At the leader.", rates)
	m.bits = histogram("sent_bits_per_second", "What was sent of the picture, of each session every 10 s. At the leader.", prometheus.ExponentialBuckets(125_000, 2, 9))
	m.capture = histogram("capture_seconds", "Mean time from a change of the picture to its copy, of each session every 10 s. At the leader.", shorts)
	m.encode = histogram("encode_seconds", "Mean time from the copy to the encoded picture, of each session every 10 s. At the leader.", shorts)
	m.queue = histogram("queue_seconds", "Mean wait in the network, of each session every 10 s. At the leader.", shorts)
	m.inject = histogram("inject_seconds", "Mean time from an input's arrival at the seat to the app's display, of each session with input every 10 s. At the leader.", shorts)
	m.pageFPS = histogram("page_pictures_per_second", "Pictures that the browser decoded, as pages say every 10 s. At the leader.", rates)
	m.frozen = histogram("page_frozen_ratio", "Share of the time in which the picture stood still where it should have moved, as pages say every 10 s. At the leader.", shares)
	m.concealed = histogram("page_concealed_ratio", "Share of the sound that did not arrive, as pages say every 10 s. At the leader.", shares)
	m.duration = histogram("duration_seconds", "How long sessions that ended had their browser connected. At the leader.", lengths)
	m.frozenInAll = histogram("frozen_ratio", "Share of a whole session in which the picture stood still where it should have moved, at its end. At the leader.", shares)
	return m
}

// of observes figures of an app's session.
func (m *sessionMetrics) of(app App) func(v *prometheus.HistogramVec, x float64) {
	labels := appPool{app.ID, cmp.Or(app.Pool, defaultPool)}
	kept := m.kept[labels]
	if kept == nil {
		kept = observers{}
		m.kept[labels] = kept
	}
	return func(v *prometheus.HistogramVec, x float64) {
		one := kept[v]
		if one == nil {
			one = v.WithLabelValues(labels.app, labels.pool)
			kept[v] = one
		}
		one.Observe(x)
	}
}

func (m *sessionMetrics) measured(app App, s wire.Measured) {
	see := m.of(app)
	if s.RTTMS > 0 {
		see(m.rtt, s.RTTMS/1000)
	}
	see(m.loss, s.Loss)
	see(m.fps, s.FPS)
	see(m.paints, s.Paints)
	see(m.bits, s.BitrateKbps*1000)
	if s.Paints > 0 { // else there was nothing to capture
		see(m.capture, s.CaptureMS/1000)
	}
	see(m.encode, s.EncodeMS/1000)
	see(m.queue, s.QueueMS/1000)
	if s.InjectMS > 0 {
		see(m.inject, s.InjectMS/1000)
	}
	if p := s.Page; p != nil {
		see(m.pageFPS, p.FPS)
		see(m.frozen, p.FrozenMS/1000)
		see(m.concealed, p.Concealed)
	}
}

func (m *sessionMetrics) over(app App, q wire.Quality) {
	see := m.of(app)
	see(m.duration, q.DurationS)
	if q.DurationS > 0 {
		see(m.frozenInAll, q.FrozenS/q.DurationS)
	}
}

// forget drops the series of an app that is gone.
func (m *sessionMetrics) forget(app string) {
	for _, v := range m.all {
		v.DeletePartialMatch(prometheus.Labels{"app": app})
	}
	maps.DeleteFunc(m.kept, func(of appPool, _ observers) bool { return of.app == app })
}

// seatsCollector counts seats by app, pool and state when it is asked. The leader alone has them.
type seatsCollector struct{ state *state }

var seatsDesc = prometheus.NewDesc("nearcast_seats", "Seats that the site's nodes tell of, by app, node pool and state. At the leader.", []string{"app", "pool", "state"}, nil)

func (seatsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- seatsDesc }

func (c seatsCollector) Collect(ch chan<- prometheus.Metric) {
	type key struct {
		app, pool string
		state     wire.SeatState
	}
	count := map[key]int{}
	func() {
		c.state.mu.Lock()
		defer c.state.mu.Unlock()
		if !c.state.leading {
			return
		}
		for _, a := range c.state.view.apps {
			for _, state := range wire.SeatStates {
				count[key{a.app.ID, cmp.Or(a.app.Pool, defaultPool), state}] = 0 // a series that does not come and go
			}
			for u := range a.units {
				if u.seat != nil && u.seat.heard() {
					count[key{a.app.ID, cmp.Or(a.app.Pool, defaultPool), u.seat.State}]++
				}
			}
		}
	}()
	for k, n := range count {
		ch <- prometheus.MustNewConstMetric(seatsDesc, prometheus.GaugeValue, float64(n), k.app, k.pool, string(k.state))
	}
}
