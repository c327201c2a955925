package peer

import "time"

const (
	// overtakenBy is how much later another packet may be sent that came, while this one did
	// not, without this one being taken for lost. Too short costs a packet, too long costs
	// the picture.
	overtakenBy = 25 * time.Millisecond
	// someLoss is the loss from which on the seat does not wait to be asked. Below it, a
	// request that is lost as well is rare.
	someLoss = 0.005
)

// unasked returns the packets to send again although the browser did not ask for them.
//
// Measured at 5 % of loss, 10 ms of jitter and RTT 40 ms, with each packet recorded: where the
// picture stood still, a packet was lost, and the first request for it reached the seat 80 to
// 430 ms later, or it came in time, and the limit on retransmissions refused it. Reports name
// the same packets, and are lost at other times than requests.
func (e *estimator) unasked(now time.Duration) (own []uint16) {
	if e.control.loss < someLoss {
		return nil
	}
	e.repeats.add(now, 0)
	budget, rate := e.repeatBudget(now), e.repeats.bps
	for i := range e.missing {
		m := &e.missing[i]
		p := e.packet(m.number)
		if m.asked || !p.open || p.number != m.number || p.stream == nil || e.newestHere-p.at < overtakenBy {
			continue
		}
		if rate += repeatRate(2 * p.size); rate > budget {
			break
		}
		m.asked = true
		own = append(own, p.own)
	}
	return own
}

// repeatBudget is what retransmissions may use, in bit/s, whether asked for or not. On a full
// line, more of them would cause more loss. Else they are bounded only against a browser that
// asks for all: where packets overtake each other, Chromium asks for seven times what is lost.
func (e *estimator) repeatBudget(now time.Duration) float64 {
	if e.control.trial.running { // which has room for what protects the pictures beside it
		return max(e.control.trialRepeats()*e.control.target, lowestBPS)
	}
	e.protecting.add(now, 0)
	if e.control.mayBeFull(now) {
		return max(e.control.target/2-e.protecting.bps, leastRepeats)
	}
	return 2*e.control.target - e.protecting.bps
}

// copies is how often to send a lost packet. One that is lost twice is missing for so long
// that the picture stands still. Where the browser computes most of what is lost, the first
// request is often for a packet that it has by now.
func (e *estimator) copies(s *stream, own uint16, now time.Duration) int {
	first := s.of(own).again == 0 && now-s.of(own).at < 2*e.trip.least()
	if e.control.loss < littleLoss || e.protects && first {
		return 1
	}
	return 2
}

// needless says that a packet need not be sent again: the browser has it, or it may be on
// its way.
func (s *stream) needless(own uint16, now, trip time.Duration) bool {
	p := s.of(own)
	return p.here || p.again > 0 && now-p.again < trip
}

// mostlyOvertaken is the part of the requests for packets that came after all from which on a first
// request may wait, and overtakenOf over how many requests it is smoothed.
const (
	mostlyOvertaken = 0.5
	overtakenOf     = 32
)

// waits says that a request is not answered yet. Where packets overtake each other, Chromium asks at
// once for all that were overtaken, and again after 100 ms for those that are lost. Where the
// limit on retransmissions is low, the first requests would use it up: 900 of 6,800 were refused in
// one run, and the picture stood still for 6.5 s of 12.
func (e *estimator) waits(s *stream, own uint16, now time.Duration) bool {
	p := s.of(own)
	first := p.asked == 0
	if first {
		p.asked = now
	}
	low := e.control.trial.running || e.control.mayBeFull(now)
	return first && p.again == 0 && low && e.overtaken > mostlyOvertaken
}

// answered counts what became of a packet that the browser had asked for.
func (e *estimator) answered(p *sentPacket, overtaken float64) {
	if s := p.stream; s != nil && !p.again && s.knows(p.own) && s.of(p.own).asked > 0 {
		e.overtaken += (overtaken - e.overtaken) / overtakenOf
	}
}

// sendAgain sends packets of the track again, by their own numbers.
func (t *track) sendAgain(own []uint16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, number := range own {
		p := t.kept[int(number)%len(t.kept)]
		if p.payload == nil || p.header.SequenceNumber != number {
			continue
		}
		if err := t.repeat(p); err != nil {
			return err
		}
	}
	return nil
}

// arrived says that a packet is at the browser.
func (e *estimator) arrived(p *sentPacket) {
	e.answered(p, 1)
	if s := p.stream; s != nil && s.knows(p.own) {
		s.of(p.own).here = true
	}
}
