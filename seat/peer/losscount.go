package peer

import (
	"slices"
	"time"
)

// missingPacket was not there when a report was made. It may have been overtaken only.
type missingPacket struct {
	number uint16
	at     time.Duration // our clock, of the first such report
	asked  bool          // it is sent again
}

// count is how many packets came by the report of a moment. Retransmissions do not count.
type count struct {
	at      time.Duration
	packets int
}

// overtakenFor is how long a packet may be overtaken by others before it counts as
// lost.
const overtakenFor = 120 * time.Millisecond

// settle counts packets of which the fate is known: what was missing for so long that it is not
// overtaken only is gone, and what came by the reports of then is not.
func (e *estimator) settle(now time.Duration) (known, gone int) {
	n := 0
	for n < len(e.missing) && now-e.missing[n].at >= overtakenFor {
		if s := &e.sent[e.missing[n].number%historySize]; s.open && s.number == e.missing[n].number {
			s.open = false
			if s.at > e.healed {
				e.acks = append(e.acks, ack{sent: s.at, size: s.size, lost: true, again: s.again})
				if !s.again {
					gone++
				}
			}
		}
		n++
	}
	e.missing = append(e.missing[:0], e.missing[n:]...)
	n = 0
	for n < len(e.counted) && now-e.counted[n].at >= overtakenFor {
		known += e.counted[n].packets
		n++
	}
	e.counted = append(e.counted[:0], e.counted[n:]...)
	return known + gone, gone
}

// forgive does not count what is not settled before this report: a report that was lost as well
// may have said that what was missing came. Where packets overtake each other, each report says so
// of some. At 5 % of loss and 10 ms of jitter, half of those that counted as lost had come. What
// came by those reports does not count either, else there would seem to be less loss: where
// reports are lost as often as packets are, about half of it at 20 %.
func (e *estimator) forgive(now time.Duration) {
	for _, m := range e.missing {
		if m.at >= now {
			break
		}
		if p := &e.sent[m.number%historySize]; p.open && p.number == m.number {
			p.open = false
		}
	}
	e.missing = slices.DeleteFunc(e.missing, func(m missingPacket) bool { return m.at < now })
	e.counted = slices.DeleteFunc(e.counted, func(c count) bool { return c.at < now })
}

// reportCount is the number of the last report.
type reportCount struct {
	known bool
	last  uint8
}

// gap takes the number of a report, and says whether one before it is missing.
func (c *reportCount) gap(number uint8) bool {
	if c.known && int8(number-c.last) < 0 {
		return false // it was overtaken, and counted as missing then
	}
	gap := c.known && number != c.last && number != c.last+1
	c.known, c.last = true, number
	return gap
}
