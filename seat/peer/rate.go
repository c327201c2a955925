package peer

import (
	"math"
	"time"
)

// Rates below which there is no picture.
const lowestBPS = 100_000

const (
	// shortQueue may stand in the network without harm: it is the jitter of
	// ordinary lines. longQueue may not: somebody waits for what it holds.
	shortQueue = 25 * time.Millisecond
	longQueue  = 60 * time.Millisecond
	// A long queue is believed after this time and so many packets.
	proofTime    = 150 * time.Millisecond
	proofPackets = 4
	// deliveryWindow is over how long the delivered rate is measured.
	deliveryWindow = 500 * time.Millisecond
	// baseWindow is for how long a shortest way is remembered. A longer way (a
	// route that changed, somebody else's queue) is taken for the new normal
	// after at most twice that.
	baseWindow = 10 * time.Second
	// memory is for how long the rate is believed at which the line filled.
	memory = 30 * time.Second
	// Less loss than littleLoss is the radio's; much is the line's.
	littleLoss = 0.02
	muchLoss   = 0.1
	// Loss is counted over so many packets, but not over a shorter or, where
	// there are few, a longer time.
	lossPackets = 20
	lossEvery   = 200 * time.Millisecond
	lossAtLeast = time.Second
	// standEvery is how often the rate is cut for a queue that stands and does
	// not grow.
	standEvery = 300 * time.Millisecond
)

// ack is what became of one packet.
type ack struct {
	sent    time.Duration // by our clock
	arrived time.Duration // by the browser's, which began at another moment
	size    int           // bytes
	lost    bool
	again   bool // it was sent once more
}

// rateControl decides how much to send, by what became of what was sent.
//
// It looks at the queue that stands in the network, as the time packets take
// beyond the shortest that any took of late. Of the packets that a report is
// about, it is the luckiest that counts: each picture is sent in one go and so
// makes a queue of its own, which is gone before the next where the line is wide
// enough; and on a radio that stalled, the last of those held back came at once.
//
//   - A long queue: the line delivers all it can, so what was delivered is its
//     rate. The target goes below it, the more the longer the queue is, until it
//     is gone.
//   - No queue, and what was allowed was used: the target rises, carefully where
//     the line filled of late, quickly elsewhere.
//   - Little is sent, for the picture is still: that says nothing of the line, and
//     the target stays. One late packet then is no proof either.
//   - Loss counts beyond what radios lose.
//
// It is a plain calculation: time comes from outside.
type rateControl struct {
	max    int
	target float64

	base     shortest
	history  []ack // delivered, by arrival, not older than deliveryWindow
	latest   time.Duration
	reported time.Duration // our clock, of the last report

	long      int           // packets in reports of a long queue, one after the other
	longSince time.Duration // arrival of the first of them
	cut       time.Duration // our clock, of the last cut for a queue

	filled   float64       // rate at which the line was full; 0 is unknown
	filledAt time.Duration // our clock

	loss   float64 // smoothed
	lossAt time.Duration
	gone   int // lost, and all, since lossAt
	all    int
}

func newRateControl(max int) *rateControl {
	return &rateControl{max: max, target: float64(max)}
}

// report takes the acks of one report of the browser, in the order of sending.
func (c *rateControl) report(now time.Duration, acks []ack) {
	queue, first, last, n := c.take(acks)
	since := min(max(now-c.reported, 0), deliveryWindow)
	c.reported = now
	c.countLoss(now, acks)
	if n == 0 {
		return
	}
	if queue <= longQueue {
		c.long = 0
	} else {
		if c.long == 0 {
			c.longSince = first
		}
		c.long += n
		if c.long >= proofPackets && last-c.longSince >= proofTime {
			c.congested(now, queue)
		}
		return
	}
	if queue <= shortQueue && c.loss < littleLoss {
		c.rise(now, since)
	}
}

// take remembers what was delivered, and tells of the queue that stood.
func (c *rateControl) take(acks []ack) (queue, first, last time.Duration, n int) {
	queue = math.MaxInt64
	for _, a := range acks {
		if a.lost {
			continue
		}
		way := a.arrived - a.sent
		queue = min(queue, way-c.base.update(a.sent, way))
		if n == 0 || a.arrived < first {
			first = a.arrived
		}
		last = max(last, a.arrived)
		n++
		c.history = append(c.history, a)
	}
	if n == 0 {
		return 0, 0, 0, 0
	}
	if last < c.latest-time.Minute { // the browser's clock has gone round
		c.history, c.latest = nil, last
		return 0, first, last, n
	}
	c.latest = max(c.latest, last)
	old := 0
	for old < len(c.history) && c.history[old].arrived < c.latest-deliveryWindow {
		old++
	}
	c.history = append(c.history[:0], c.history[old:]...)
	return queue, first, last, n
}

// delivered is the rate of what arrived since a moment, and of when it was sent.
func (c *rateControl) delivered(since time.Duration) (arrived, sent float64) {
	var bits float64
	var firstA, firstS, lastA, lastS time.Duration
	n := 0
	for _, a := range c.history {
		if a.arrived < since {
			continue
		}
		if n == 0 {
			firstA, firstS = a.arrived, a.sent
		} else {
			bits += float64(8 * a.size) // the first only begins the measure
		}
		lastA, lastS = max(lastA, a.arrived), max(lastS, a.sent)
		n++
	}
	rate := func(span time.Duration) float64 {
		if span <= 0 {
			return math.Inf(1)
		}
		return bits / span.Seconds()
	}
	return rate(lastA - firstA), rate(lastS - firstS)
}

// congested lowers the target for a queue that is proven.
func (c *rateControl) congested(now, queue time.Duration) {
	arrived, sent := c.delivered(max(c.longSince, c.latest-deliveryWindow))
	if math.IsInf(arrived, 1) || arrived == 0 {
		return
	}
	// To be without the queue in about a second.
	next := arrived * min(max(0.9-queue.Seconds(), 0.3), 0.85)
	switch {
	case sent > 1.05*arrived: // it grows
		if c.filled == 0 || now-c.filledAt > memory {
			c.filled = arrived
		}
		c.filled += 0.5 * (arrived - c.filled)
		c.filledAt = now
	case sent < 0.95*arrived: // it is on its way out
		return
	default:
		// It stands: it may be another's, and what was delivered is no more
		// than what we sent.
		if now-c.cut < standEvery {
			return
		}
		next = max(next, 0.7*c.target)
	}
	if next < c.target {
		c.set(next)
		c.cut = now
	}
}

// rise raises the target where nothing speaks against it.
func (c *rateControl) rise(now, since time.Duration) {
	known := c.filled > 0 && now-c.filledAt < memory
	_, sent := c.delivered(0)
	used := !math.IsInf(sent, 1) && sent > 0.5*c.target
	perSecond := 0.25
	switch {
	case known && c.target < 0.8*c.filled:
		perSecond = 1 // back to what the line is known to carry
	case !used && known:
		return
	case !used:
		perSecond = 0.05 // what was learned grows old
	case known && c.target < 1.15*c.filled:
		perSecond = min(0.03+0.015*(now-c.filledAt).Seconds(), perSecond)
	}
	c.set(c.target * math.Pow(1+perSecond, since.Seconds()))
}

// countLoss lowers the target where much is lost. What is sent again does not
// count: it may come too late for the browser to take it, over and over.
func (c *rateControl) countLoss(now time.Duration, acks []ack) {
	for _, a := range acks {
		if !a.again {
			c.all++
			if a.lost {
				c.gone++
			}
		}
	}
	since := now - c.lossAt
	if since < lossEvery || c.all < lossPackets && since < lossAtLeast || c.all == 0 {
		return
	}
	ratio := float64(c.gone) / float64(c.all)
	c.loss += (1 - math.Exp(-2*since.Seconds())) * (ratio - c.loss)
	if least := min(ratio, c.loss); least > muchLoss {
		c.set(c.target * (1 - 0.5*least))
	}
	c.lossAt, c.all, c.gone = now, 0, 0
}

func (c *rateControl) set(bps float64) {
	c.target = min(max(bps, float64(min(lowestBPS, c.max))), float64(c.max))
}

// shortest remembers the shortest way of the last one to two baseWindows.
type shortest struct {
	since       time.Duration
	now, before time.Duration
	known       bool
}

func (s *shortest) update(at, way time.Duration) time.Duration {
	switch {
	case !s.known:
		*s = shortest{since: at, now: way, before: way, known: true}
	case at-s.since > baseWindow:
		s.since, s.before, s.now = at, s.now, way
	default:
		s.now = min(s.now, way)
	}
	return min(s.now, s.before)
}
