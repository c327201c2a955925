package peer

import (
	"math"
	"time"
)

const (
	// Radio links lose up to littleLoss; a full line loses more than muchLoss.
	littleLoss = 0.02
	muchLoss   = 0.1
	// Loss that is there all the time is the line's, and does not hold the rate down, up to
	// usualLoss; and up to mostOwnLoss where a trial showed that it is.
	usualLoss   = 0.06
	mostOwnLoss = 0.25
	// Loss is computed over at least lossPackets and lossEvery; where there are few
	// packets, after lossAtLeast.
	lossPackets = 20
	lossEvery   = 200 * time.Millisecond
	lossAtLeast = time.Second

	// A trial begins when for trialAfter more than trialLoss is lost beside what the line is
	// known to lose. The rate is lowered to underLine of what arrived, but not below leastTrial
	// of itself. What was sent before counts for trialDelay; then it takes trialTime at least
	// and trialMost at most, until enough lost packets are to be expected.
	trialLoss  = 0.03
	trialAfter = 600 * time.Millisecond
	underLine  = 0.95
	leastTrial = 0.05
	trialDelay = 500 * time.Millisecond
	trialTime  = 600 * time.Millisecond
	trialMost  = 5 * time.Second
	// Of so many lost packets to be expected, at most trialFell are lost where the rate was the cause;
	// of the fewer none.
	expected    = 12
	expectedFew = 5
	trialFell   = 0.4
	// The line's own loss is believed for ownFor. Two trials in twiceIn, before which about the same
	// rate arrived (sameRate), say that the line is full with it.
	ownFor   = 30 * time.Second
	twiceIn  = 20 * time.Second
	sameRate = 1.1
)

// lossControl decides whether the seat causes what is lost. A queue says so (rateControl), but
// some lines drop what is above their rate and have no queue. Others lose the same part of
// everything, and there to send less would only make the picture worse. So it tries:
// it lowers the rate below what arrived. If much less is lost then, the rate was too high;
// else it goes back, and the loss is the line's own.
type lossControl struct {
	loss   float64 // smoothed
	floor  lowest  // loss
	lossAt time.Duration
	gone   int // lost packets since lossAt
	all    int // packets since lossAt

	trial struct {
		on        bool
		since     time.Duration
		target    float64 // before it
		loss      float64 // before it
		arrived   float64 // bit/s, before it
		all, gone int
	}
	lossy   time.Duration // since when there is loss that is not explained; 0 is none
	before  int64         // arrived bytes, then
	own     float64       // what the line loses anyway
	ownAt   time.Duration
	tooMuch time.Duration // when a trial last said that the rate was too high; 0 is never
	carried float64       // what arrived before that trial, bit/s
}

// countLoss counts packets of which the fate is known, all and lost. It lowers the target where
// it is the cause. Retransmissions do not count: the browser may report them as lost again and
// again because they come too late.
func (c *rateControl) countLoss(now time.Duration, all, gone int) {
	c.all += all
	c.gone += gone
	since := now - c.lossAt
	if since < lossEvery || c.all < lossPackets && since < lossAtLeast || c.all == 0 {
		return
	}
	ratio := float64(c.gone) / float64(c.all)
	c.loss += (1 - math.Exp(-2*since.Seconds())) * (ratio - c.loss)
	c.floor.update(now, c.loss)
	least := min(ratio, c.loss)
	switch {
	case c.trial.on:
		c.try(now)
	case c.unexplained(now, least):
		c.beginTrial(now, least)
	case c.lossy == 0 && least > muchLoss+c.usual():
		c.set(c.target * (1 - 0.5*least))
	}
	c.lossAt, c.all, c.gone = now, 0, 0
}

// unexplained says that a trial should begin.
func (c *rateControl) unexplained(now time.Duration, least float64) bool {
	own := c.own
	if c.ownAt == 0 || now-c.ownAt > ownFor {
		own = 0
	}
	if least <= trialLoss+1.3*own || c.target <= lowestBPS {
		c.lossy = 0
		return false
	}
	if c.lossy == 0 {
		c.lossy, c.before = now, c.arrived
	}
	return now-c.lossy >= trialAfter || c.drops(now)
}

// drops says that trials found out what the line carries.
func (c *rateControl) drops(now time.Duration) bool { return c.full(now) && c.filledAt == c.tooMuch }

func (c *rateControl) beginTrial(now time.Duration, loss float64) {
	t := &c.trial
	t.on, t.since, t.target, t.loss, t.all, t.gone = true, now, c.target, loss, 0, 0
	least := leastTrial * c.target
	if t.arrived, _ = c.delivered(0); now > c.lossy+deliveryWindow {
		t.arrived = 8 * float64(c.arrived-c.before) / (now - c.lossy).Seconds()
	}
	c.lossy = 0
	c.set(max(underLine*min((1-loss)*c.target, t.arrived), least))
}

// careful says that all that is sent must fit in the target: the line is full, or may be. To protect
// and repeat more would cause more loss.
func (c *rateControl) careful(now time.Duration) bool {
	return c.full(now) || c.trial.on && c.trial.loss > muchLoss || c.loss > muchLoss+c.usual()
}

// try counts during a trial, and ends it.
func (c *rateControl) try(now time.Duration) {
	t := &c.trial
	if c.lossAt < t.since+trialDelay { // it counts what was sent before
		return
	}
	t.all += c.all
	t.gone += c.gone
	past := now - t.since - trialDelay
	wait := t.loss * float64(t.all) // lost packets, if the rate is not the cause
	fell := wait >= expected && float64(t.gone) <= trialFell*wait || wait >= expectedFew && t.gone == 0
	if t.all == 0 || past < trialMost && (past < trialTime || !fell && wait < expected) {
		return
	}
	t.on = false
	c.loss = float64(t.gone) / float64(t.all)
	if fell {
		same := c.tooMuch > 0 && now-c.tooMuch < twiceIn && t.arrived < sameRate*c.carried && t.arrived > c.carried/sameRate
		if same || c.drops(now) && t.arrived < 1.15*c.filled {
			c.filled, c.filledAt = t.arrived, now
		}
		c.cut, c.tooMuch, c.carried, c.ownAt = now, now, t.arrived, 0
		return
	}
	if c.cut < t.since && c.loss <= mostOwnLoss { // no queue lowered it meanwhile
		c.set(t.target)
	}
	if wait >= expected {
		c.own, c.ownAt = min(c.loss, mostOwnLoss), now
	}
}

// usual is the loss that the line has anyway.
func (c *rateControl) usual() float64 {
	usual := min(c.floor.least(), usualLoss)
	if c.ownAt > 0 && c.reported-c.ownAt < ownFor {
		usual = max(usual, c.own)
	}
	return usual
}

// lowest remembers the lowest loss of the last one to two lossWindows.
type lowest struct {
	since       time.Duration
	now, before float64
}

// lossWindow is how long loss must last to be the line's own.
const lossWindow = 4 * time.Second

func (l *lowest) update(at time.Duration, loss float64) {
	if at-l.since > lossWindow {
		l.since, l.before, l.now = at, l.now, loss
		return
	}
	l.now = min(l.now, loss)
}

func (l *lowest) least() float64 { return min(l.now, l.before) }
