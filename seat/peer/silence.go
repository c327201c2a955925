package peer

import "time"

const (
	// cutAfter is how long a browser may say nothing about packets that it should have
	// got. It reports at least every 250 ms while packets come.
	cutAfter = 700 * time.Millisecond
	// After probeAfter of silence, the last packet is sent again every probeEvery, so
	// that a browser whose line is healed has something to report, also where the
	// picture is still.
	probeAfter = 300 * time.Millisecond
	probeEvery = 100 * time.Millisecond
	// silentAfter is when OnSilent comes: before a display repeats a key that was pressed as the line
	// was cut, which takes it 660 ms.
	silentAfter = 400 * time.Millisecond
)

// silence is how long the browser has said nothing, while it has packets to report. It is a pure
// computation.
type silence struct {
	waiting bool
	since   time.Duration
}

// sent says that a packet was sent.
func (s *silence) sent(now time.Duration) {
	if !s.waiting {
		s.waiting, s.since = true, now
	}
}

// owed says that the browser has spoken, and whether the packet that was sent last is still to be
// reported. Of a picture that then stands still no other one follows: without a probe, nobody would
// know that it is lost.
func (s *silence) owed(now time.Duration, last bool) { s.waiting, s.since = last, now }

// heard says that the browser reports packets. It reports whether the line was cut.
func (s *silence) heard(now time.Duration) (cut bool) {
	cut = s.length(now) >= cutAfter
	s.waiting = false
	return cut
}

func (s *silence) length(now time.Duration) time.Duration {
	if !s.waiting {
		return 0
	}
	return now - s.since
}

// probe sends the last packet again while the browser is silent, until the peer closes.
func (p *Peer) probe() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		if State(p.state.Load()) != Connected {
			continue
		}
		silent := p.rate.silent()
		if silent >= probeAfter {
			if err := p.video.repeatLast(); err != nil {
				p.log.Debug("send a probe", "error", err)
			}
		}
		if silent >= silentAfter && p.cfg.OnSilent != nil {
			p.call(p.cfg.OnSilent)
		}
	}
}

// healed is called when the browser reports packets after a cut. It cannot decode
// before a keyframe, and would ask for one only when it has given up what is missing.
func (p *Peer) healed() {
	p.keys.forget()
	p.askKeyframe()
}
