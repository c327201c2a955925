package peer

import "time"

// Stats are counters since the start, and the latest figures of the network.
type Stats struct {
	State           State
	VideoFrames     uint64
	VideoBytes      uint64
	AudioPackets    uint64
	KeyframeAsks    uint64 // by the browser, before they are merged into one
	Inputs          uint64
	InputsDropped   uint64 // moves above the allowed rate
	InputsMalformed uint64
	TargetBPS       int
	RTT             time.Duration
	Loss            float64 // 0..1, as the browser reported last
	// Packets are those of which the browser has reported, and Lost those of them that did not
	// arrive at first.
	Packets, Lost uint64
	// Queue is the sum of what packets waited in the network, as each of Reports showed it.
	Reports uint64
	Queue   time.Duration
	// InputTime is the sum over all Inputs from their arrival to the end of OnInput.
	InputTime time.Duration
}

// Stats returns the connection's figures.
func (p *Peer) Stats() Stats {
	s := Stats{
		State:        State(p.state.Load()),
		VideoFrames:  p.video.frames.Load(),
		VideoBytes:   p.video.bytes.Load(),
		KeyframeAsks: p.keys.asks.Load(),
		Inputs:       p.input.taken.Load(), InputsDropped: p.input.dropped.Load(), InputsMalformed: p.input.malformed.Load(),
		TargetBPS: p.rate.current(),
		Loss:      float64(p.video.lost.Load()) / 256,
		InputTime: time.Duration(p.input.spent.Load()),
	}
	line := p.rate.line()
	s.Packets, s.Lost, s.Reports, s.Queue = line.packets, line.lost, line.reports, line.queue
	if p.audio != nil {
		s.AudioPackets = p.audio.frames.Load()
	}
	if sctp := p.pc.SCTP(); sctp != nil && sctp.Transport() != nil {
		if pair, ok := sctp.Transport().ICETransport().GetSelectedCandidatePairStats(); ok {
			s.RTT = time.Duration(pair.CurrentRoundTripTime * float64(time.Second))
		}
	}
	return s
}

// line is what the browser's reports said in all.
func (e *estimator) line() lineSums {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.control.sums
}
