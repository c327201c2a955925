package seat

import (
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	measureEvery = time.Second
	// reportsFor is how long a page's report is told of: it comes every wire.ReportEvery.
	reportsFor = 3 * wire.ReportEvery
)

// pageReport is what the page has said of its end last.
type pageReport struct {
	said wire.PageMeasured
	at   time.Time
}

// reported takes what a page says of its end. It is the browser's word.
func (p *sessionPeer) reported(said wire.PageMeasured, now time.Time) {
	past := wire.ReportEvery
	if before := p.report.Load(); before != nil {
		past = min(now.Sub(before.at), 2*wire.ReportEvery)
	}
	p.report.Store(&pageReport{said, now})
	p.frozen.Add(int64(said.FrozenMS / 1000 * float64(past)))
}

// startMeasuring measures the session until its browser is lost. The caller holds s.mu.
func (s *stream) startMeasuring() {
	if s.measuring {
		return
	}
	s.measuring = true
	s.h.tasks.start(func() {
		tick := time.NewTicker(measureEvery)
		defer tick.Stop()
		for s.measure(time.Now()) {
			select {
			case <-s.h.state.ended:
				return
			case <-tick.C:
			}
		}
	})
}

// measure looks once. It reports false when the seat does not stream any more.
func (s *stream) measure(now time.Time) bool {
	seat := s.h.state.snapshot()
	p := s.peer.Load()
	if seat.State == wire.SeatStreaming && (p == nil || p.session != seat.Session) {
		return true // another connection begins
	}
	if seat.State != wire.SeatStreaming {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.h.state.snapshot().State == wire.SeatStreaming { // again, and follow has seen that this runs
			return true
		}
		s.meter.apart()
		s.measuring = false
		return false
	}
	told := s.meter.add(seat.Session, p, figures{at: now, peer: p.Figures(), capture: s.video.Figures()}, time.Duration(p.frozen.Swap(0)))
	if told != nil {
		told.Width, told.Height = s.h.display.Size()
		if r := p.report.Load(); r != nil && now.Sub(r.at) < reportsFor {
			told.Page = &r.said
		}
	}
	s.h.state.measured(seat.Session, told, s.meter.quality())
	return true
}
