package peer

import (
	"cmp"
	"slices"
	"time"
)

const (
	// startBPS is what a connection begins with, where nothing is known of the line. The rate
	// buffer of the encoder bounds its first picture by it: 22 KB at 30 frames a second, which
	// take 90 ms on a line of 2 Mbit/s.
	startBPS = 3_000_000
	// Packets that are sent within burstGap of those before them are a burst. The line is
	// known after a burst of startPackets.
	burstGap     = 2 * time.Millisecond
	startPackets = 4
	// leastGap is the step of the browser's clock.
	leastGap = 250 * time.Microsecond
	// ofBurst is the part of the measured rate that is used.
	ofBurst = 0.85
)

// learnLine finds out how much a new line carries, by the first picture: its packets are sent
// all at once, and arrive at the rate of the line. So a wide line has its full rate with the
// first report, and a thin one never gets more than it carries.
func (c *rateControl) learnLine(now time.Duration) {
	if !c.starting {
		return
	}
	rate := c.burst()
	if rate == 0 {
		return
	}
	c.starting, c.cut = false, now
	if ofBurst*rate < c.target {
		c.filled, c.filledAt = rate, now
	}
	c.set(ofBurst * rate)
}

// burst is the rate at which the packets of the largest burst arrived; 0 where there was none.
func (c *rateControl) burst() (bps float64) {
	packets := slices.SortedFunc(slices.Values(c.history), func(a, b ack) int { return cmp.Compare(a.sent, b.sent) })
	var most []ack
	for len(packets) > 0 {
		n := 1
		for n < len(packets) && packets[n].sent-packets[n-1].sent <= burstGap {
			n++
		}
		if n > len(most) {
			most = packets[:n]
		}
		packets = packets[n:]
	}
	if len(most) < startPackets {
		return 0
	}
	// Packets may overtake each other.
	slices.SortFunc(most, func(a, b ack) int { return cmp.Compare(a.arrived, b.arrived) })
	var gaps []time.Duration
	bits := 0
	for i, a := range most[1:] {
		gaps = append(gaps, a.arrived-most[i].arrived)
		bits += 8 * a.size
	}
	// The middle one: a browser that waits for a processor makes some long and the others short.
	slices.Sort(gaps)
	return float64(bits) / float64(len(gaps)) / max(gaps[len(gaps)/2], leastGap).Seconds()
}
