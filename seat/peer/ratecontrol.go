package peer

import (
	"math"
	"time"
)

// Below this rate there is no useful picture.
const lowestBPS = 100_000

const (
	// A queue of up to shortQueue is the normal jitter of a line and does no harm.
	// A queue above longQueue is a delay that the person notices.
	shortQueue = 25 * time.Millisecond
	longQueue  = 60 * time.Millisecond
	// A long queue counts after this time and this many packets.
	proofTime    = 150 * time.Millisecond
	proofPackets = 4
	// A queue that grows by steep from one report to the next needs no more proof: the
	// line has become much thinner, and until less is sent, all comes later and later.
	steep = 25 * time.Millisecond
	// tailTime is the end of a report, in which at least one picture begins.
	tailTime = 50 * time.Millisecond
	// The target falls to mostCut of itself at a time, and to smallCut for fewer than
	// surePackets.
	mostCut     = 0.25
	smallCut    = 0.8
	surePackets = 12
	// deliveryWindow is the time over which the delivered rate is measured.
	deliveryWindow = 500 * time.Millisecond
	// baseWindow is how long the shortest delay is remembered. A longer one (a new
	// route, the queue of other traffic) becomes the new normal after at most twice
	// this time.
	baseWindow = 10 * time.Second
	// memory is how long the rate at which the line was full counts.
	memory = 30 * time.Second
	// Radio links lose up to littleLoss; a full line loses more than muchLoss.
	littleLoss = 0.02
	muchLoss   = 0.1
	// Loss that is there all the time is the line's, and does not hold the rate down, up to
	// usualLoss.
	usualLoss = 0.06
	// Loss is computed over at least lossPackets and lossEvery; where there are few
	// packets, after lossAtLeast.
	lossPackets = 20
	lossEvery   = 200 * time.Millisecond
	lossAtLeast = time.Second
	// easePerSecond is how much the target falls in a second in which the queue of a line that
	// is known to be full is neither short nor long.
	easePerSecond = 0.15
	// easeDownTo is the part of the rate at which the line was full below which such a queue
	// cannot be ours: the way has become longer, or others send.
	easeDownTo = 0.85
	// standEvery is the time between two cuts of the rate for a queue that stays
	// and does not grow.
	standEvery = 300 * time.Millisecond
)

// ack says what happened to one packet.
type ack struct {
	sent    time.Duration // by our clock
	arrived time.Duration // by the browser's clock, which has another zero
	size    int           // bytes
	lost    bool
	again   bool // it was a retransmission
}

// rateControl decides how much to send, by what happened to the packets sent.
//
// It is our own because the delay of input depends on the queue in the network.
// Measured on lines that buffer for a second: pion's GCC stayed at 6 Mbit/s on thin
// lines, with the queue full all the time (1 s). This one kept the wait in the queue
// at 85 ms (p95) on 1 Mbit/s. TestThinLine holds it to 150 ms.
//
// It measures the queue as the delay of a packet above the shortest recent delay.
// Of the packets in a report, the one with the least delay counts, for two reasons.
// A picture is sent all at once and makes a queue of its own, which is gone before
// the next picture if the line is fast enough. And after a radio stalled, the
// last of the packets that it held back arrives without a delay.
//
//   - Long queue: the line delivers all it can, so the delivered rate is the line's.
//     The target goes below it, further for a longer queue, until the queue is gone.
//   - No queue, and the target was used: the target rises, slowly if the line was
//     full recently, fast otherwise.
//   - A queue that is neither short nor long, of a line that was full recently: the target
//     falls slowly, to a little below what the line carries.
//   - A still picture sends little and says nothing about the line: the target
//     stays. A single late packet does not count either.
//   - Loss counts if it is more than radio links lose. Where there is no queue, a trial tells
//     whether it comes from the rate (lossTrial).
//   - A session begins low, and has all it may as soon as reports show no long queue.
//
// It is a pure computation: the caller passes the time.
type rateControl struct {
	max    int
	target float64

	base     shortest
	history  []ack         // delivered, by arrival, not older than deliveryWindow
	latest   time.Duration // the browser's clock, of the last arrival
	reported time.Duration // our clock, of the last report

	tail      time.Duration // the queue at the end of the last report
	long      int           // packets in consecutive reports of a long queue
	longSince time.Duration // arrival of the first of them
	cut       time.Duration // our clock, of the last cut
	queued    time.Duration // our clock, of the last cut for a queue that grew

	filled   float64       // rate at which the line was full; 0 is unknown
	filledAt time.Duration // our clock

	loss   float64 // smoothed
	floor  lowest  // loss
	lossAt time.Duration
	gone   int // lost packets since lossAt
	all    int // packets since lossAt
	trial  lossTrial

	protected bool // the browser takes packets that make up for lost ones
	starting  bool // nothing shows yet that the line is thin

	sums lineSums
}

// lineSums are what the reports said in all. Retransmissions do not count.
type lineSums struct {
	packets, lost uint64
	reports       uint64
	queue         time.Duration // of all reports
}

// startBPS is where a session begins. The first picture is sent at once: of a page of text it has
// 43 KB at 6 Mbit/s and 22 KB at 3, which take a line of 2 Mbit/s 173 and 89 ms.
const startBPS = 3_000_000

func newRateControl(max int) *rateControl {
	return &rateControl{max: max, target: float64(min(startBPS, max)), starting: startBPS < max}
}

// begins is where a session begins whose line is known to carry less than startBPS. It rises as
// after a queue, and does not try by doubling what the line carries.
func (c *rateControl) begins(bps int) {
	if bps > 0 && float64(bps) < c.target {
		c.set(float64(bps))
		c.starting = false
	}
}

// report handles the acks of one report of the browser, in the order of sending, and the packets of
// which the fate is known by now.
func (c *rateControl) report(now time.Duration, acks []ack, fates []fate) {
	queue, first, last, n := c.take(acks)
	tail, rising := c.tailQueue(acks, queue)
	grows := rising && tail-c.tail > steep && n >= proofPackets
	c.tail = tail
	since := min(max(now-c.reported, 0), deliveryWindow)
	c.reported = now
	gone := 0
	for _, f := range fates {
		if f.lost {
			gone++
		}
	}
	c.sums.packets += uint64(len(fates))
	c.sums.lost += uint64(gone)
	if !c.try(now, fates) {
		c.countLoss(now, len(fates), gone)
	}
	if n == 0 {
		return
	}
	c.begin(tail, n)
	c.sums.reports++
	c.sums.queue += max(queue, 0)
	together := c.together(acks)
	grows = grows && !together
	if queue <= longQueue {
		c.long = 0
		if grows && tail > longQueue && n >= surePackets && c.starved(first) {
			c.long = n
			c.congested(now, tail)
			return
		}
	} else {
		if c.long == 0 {
			c.longSince = first
		}
		c.long += n
		switch proof := last - c.longSince; {
		case c.long < proofPackets:
		case together:
			// They waited for a processor or a radio, unless it lasts.
			if proof >= 2*deliveryWindow && now-c.cut >= standEvery && c.starved(c.latest-deliveryWindow) {
				c.set(0.8 * c.target)
				c.cut = now
			}
		case proof >= proofTime || grows && c.starved(c.longSince):
			c.congested(now, max(queue, tail))
		}
		return
	}
	switch {
	case queue > shortQueue && !together && c.full(now) && c.target > easeDownTo*c.filled:
		// What is above the line's rate adds to the queue until it is a long one.
		c.set(max(c.target*math.Pow(1-easePerSecond, since.Seconds()), easeDownTo*c.filled))
	case !c.trial.running && queue <= shortQueue && c.loss < littleLoss+c.usual():
		c.rise(now, since)
	}
}

// begin raises the target to the double with each report that shows no long queue, also not at the
// end of a picture. The other rules end the beginning, where the line is full or loses much.
func (c *rateControl) begin(tail time.Duration, packets int) {
	if c.starting && packets >= proofPackets && tail <= longQueue {
		c.set(2 * c.target)
		c.starting = c.target < float64(c.max)
	}
}

// take records what was delivered, and returns the queue that the report shows,
// the first and last arrival, and how many packets arrived.
func (c *rateControl) take(acks []ack) (queue, first, last time.Duration, n int) {
	queue = math.MaxInt64
	for _, a := range acks {
		if a.lost {
			continue
		}
		delay := a.arrived - a.sent
		queue = min(queue, delay-c.base.update(a.sent, delay))
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
	if last < c.latest-time.Minute { // the browser's clock wrapped around
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

// delivered is the rate at which packets arrived since a moment, and the rate at
// which the same packets were sent.
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
			bits += float64(8 * a.size) // the first only starts the measurement
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

// congested lowers the target for a long queue.
func (c *rateControl) congested(now, queue time.Duration) {
	arrived, sent := c.delivered(max(c.longSince, c.latest-deliveryWindow))
	if math.IsInf(arrived, 1) || arrived == 0 {
		return
	}
	// The queue should be gone in about a second.
	next := arrived * min(max(0.9-queue.Seconds(), 0.3), 0.85)
	switch {
	case sent > 1.05*arrived: // the queue grows
		if c.filled == 0 || now-c.filledAt > memory {
			c.filled = arrived
		}
		c.filled += 0.5 * (arrived - c.filled)
		c.filledAt, c.queued = now, now
		c.trial.running, c.trial.policed = false, false
	case sent < 0.95*arrived: // the queue shrinks
		return
	default:
		// The queue stays: it may be of other traffic, and what was delivered is
		// what we sent, not what the line can carry.
		if now-c.cut < standEvery {
			return
		}
		next = max(next, 0.7*c.target)
	}
	// Few packets prove little: on a busy node four came 280 ms late.
	least := mostCut
	if c.long < surePackets {
		least = smallCut
	}
	c.starting = false
	if next = max(next, least*c.target); next < c.target {
		c.set(next)
		c.cut = now
	}
}

// rise raises the target.
func (c *rateControl) rise(now, since time.Duration) {
	known := c.full(now)
	_, sent := c.delivered(0)
	used := !math.IsInf(sent, 1) && sent > 0.5*c.target
	// The longer the line was not full, the faster.
	perSecond := min(0.25+0.04*(now-c.cut).Seconds(), 0.5)
	switch {
	case known && c.trial.policed && c.target >= policedPart*c.filled && c.target < 1.15*c.filled:
		perSecond = policedRise * max(1, (now-c.filledAt).Seconds()-10)
	case known && c.target < 0.8*c.filled:
		perSecond = 1 // back to what the line is known to carry
	case !used && known:
		return
	case !used:
		perSecond = 0.05 // the line may be better by now
	case known && c.target < 1.15*c.filled:
		perSecond = min(0.03+0.015*(now-c.filledAt).Seconds(), perSecond)
	}
	c.set(c.target * math.Pow(1+perSecond, since.Seconds()))
}

// countLoss lowers the target if much is lost. Retransmissions do not count: the
// browser may report them as lost again and again because they come too late.
func (c *rateControl) countLoss(now time.Duration, known, gone int) {
	c.all += known
	c.gone += gone
	since := now - c.lossAt
	if since < lossEvery || c.all < lossPackets && since < lossAtLeast || c.all == 0 {
		return
	}
	ratio := float64(c.gone) / float64(c.all)
	c.loss += (1 - math.Exp(-2*since.Seconds())) * (ratio - c.loss)
	c.floor.update(now, c.loss)
	least := min(ratio, c.loss)
	if c.mayTry(now, least); !c.trial.running && least > muchLoss+c.usual() {
		c.set(c.target * (1 - 0.5*least))
	}
	c.lossAt, c.all, c.gone = now, 0, 0
}

// usual is the loss that the line has anyway.
func (c *rateControl) usual() float64 { return min(c.floor.least(), usualLoss) }

// full reports whether the line was full recently.
func (c *rateControl) full(now time.Duration) bool { return c.filled > 0 && now-c.filledAt < memory }

func (c *rateControl) set(bps float64) {
	c.target = min(max(bps, float64(min(lowestBPS, c.max))), float64(c.max))
}
