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

// fate is what became of a packet that was not sent before.
type fate struct {
	sent time.Duration // our clock
	lost bool
}

// came is a packet that a report named as received. Retransmissions do not count.
type came struct {
	at   time.Duration // our clock, of the report
	sent time.Duration
}

// overtakenFor is how long a packet may be overtaken by others before it counts as
// lost.
const overtakenFor = 120 * time.Millisecond

// settle returns the packets of which the fate is known: what was missing for so long that it is not
// overtaken only is gone, and what came by the reports of then is not. Both wait for as long, or what
// was sent last would seem to lose nothing.
func (e *estimator) settle(now time.Duration) []fate {
	e.fates = e.fates[:0]
	n := 0
	for n < len(e.missing) && now-e.missing[n].at >= overtakenFor {
		if s := e.packet(e.missing[n].number); s.open && s.number == e.missing[n].number {
			s.open = false
			e.answered(s, 0)
			if s.at > e.healed {
				e.acks = append(e.acks, ack{sent: s.at, size: s.size, lost: true, again: s.again})
				if !s.again {
					e.fates = append(e.fates, fate{s.at, true})
				}
			}
		}
		n++
	}
	e.missing = append(e.missing[:0], e.missing[n:]...)
	n = 0
	for n < len(e.came) && now-e.came[n].at >= overtakenFor {
		e.fates = append(e.fates, fate{e.came[n].sent, false})
		n++
	}
	e.came = append(e.came[:0], e.came[n:]...)
	return e.fates
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
		if p := e.packet(m.number); p.open && p.number == m.number {
			p.open = false
		}
	}
	e.missing = slices.DeleteFunc(e.missing, func(m missingPacket) bool { return m.at < now })
	e.came = slices.DeleteFunc(e.came, func(c came) bool { return c.at < now })
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
