package peer

import (
	"math"
	"time"
)

const (
	// trialLoss is the loss from which on a trial begins. Below it, chance shows too much.
	trialLoss = 0.04
	// trialSettle is the time until a trial counts: what was lost before it is sent again.
	trialSettle = 150 * time.Millisecond
	// trialLength ends a trial in which too little was sent to tell.
	trialLength = 2500 * time.Millisecond
	// A trial ends when trialLost packets would have been lost at the loss before it. With a
	// fifth of them or less, the loss came from the rate.
	trialLost = 15
	trialPart = 0.2
	// The time to the next trial, where loss is the line's own. It doubles. Hardly a line loses muchLoss of
	// its own, so that a trial may have been spoilt by something else.
	firstTrialWait = 10 * time.Second
	soonTrialWait  = 2 * time.Second
	mostTrialWait  = 80 * time.Second
	// policedPart is what is used of a line that drops what is above its rate.
	policedPart = 0.9
	// queueMemory is how long after a queue loss is taken for its own.
	queueMemory = 2 * time.Second
	// policedRise is how much the target rises in a second there. What is above the line's rate is lost at once,
	// or after seconds, where the line lets bursts pass.
	policedRise = 0.01
)

// lossTrial finds out why a line loses packets without a queue. Many providers limit a line by
// dropping what is above its rate (policing); a radio loses the same part of much and of little. So
// for a second less is sent than what came through:
//
//   - Less is lost: the line was full at the rate that came through. The target goes below it, and
//     rises as on other full lines.
//   - As much is lost: it is the line's own loss. The target is what it was, and the next trial
//     comes after 10 s, 20 s, … 80 s, or when twice as much is lost. Above a tenth it comes after 2 s, 4 s, ….
//
// Without it, on a simulated line that polices 2 Mbit/s 16 to 22 % of packets were lost
// (TestRateOnPolicedLines).
type lossTrial struct {
	running   bool
	since     time.Duration
	from      float64 // the target before
	delivered float64 // the rate that came through
	loss      float64 // before
	all, gone int

	wait, next time.Duration
	own        float64 // the line's own loss, by the last trial
	policed    bool    // by the last trial that told
	below      float64 // the target that was set then, or since
}

// try counts what a running trial shows, and says whether it goes on.
func (c *rateControl) try(now time.Duration, fates []fate) bool {
	t := &c.trial
	if !t.running {
		return false
	}
	for _, f := range fates {
		if f.sent < t.since+trialSettle {
			continue
		}
		t.all++
		if f.lost {
			t.gone++
		}
	}
	expected := t.loss * float64(t.all)
	told := expected >= trialLost
	if !told && now-t.since < trialLength {
		return true
	}
	t.running = false
	c.loss = float64(t.gone) / float64(max(t.all, 1))
	c.floor.update(now, c.loss)
	c.lossAt, c.all, c.gone = now, 0, 0
	if told && float64(t.gone) <= trialPart*expected {
		t.policed, t.wait, t.own = true, 0, 0
		c.police(now, t.delivered)
		return false
	}
	c.set(max(t.from, c.target))
	c.ownLoss(now, t.loss)
	return false
}

// mayTry begins a trial where loss may come from the rate. Where the line is known to drop what is
// too much, it lowers the target without one.
func (c *rateControl) mayTry(now time.Duration, loss float64) {
	t := &c.trial
	if c.long > 0 || now-c.queued < queueMemory {
		return // a full queue drops packets as well, and congested sees it
	}
	arrived, sent := c.delivered(c.latest - deliveryWindow)
	if math.IsInf(arrived, 1) || math.IsInf(sent, 1) || sent < 0.5*c.target {
		return // a still picture says nothing about the line
	}
	switch {
	case t.policed && c.full(now):
		switch {
		case loss < littleLoss+c.usual() || now-c.cut < trialLength:
		case c.target > 1.01*t.below:
			c.police(now, (c.filled+min(arrived, c.target*(1-loss)))/2)
		default: // loss did not go with the rate
			c.filled = 0
			c.ownLoss(now, loss)
		}
	case loss >= trialLoss && (now >= t.next || loss > 2*t.own):
		c.starting = false
		*t = lossTrial{running: true, since: now, from: c.target, delivered: arrived, loss: loss, wait: t.wait, own: t.own}
		less := 0.98 * arrived / (1 + c.trialRepeats() + c.trialProtection())
		if loss < muchLoss {
			less = max(less, 0.82*c.target) // a fifth less shows it
		}
		c.set(min(c.target, less))
	}
}

// police says that the line drops what is above a rate.
func (c *rateControl) police(now time.Duration, rate float64) {
	c.filled, c.filledAt, c.cut = rate, now, now
	c.set(policedPart * rate)
	c.trial.below = c.target
}

// ownLoss says that loss does not come from the rate.
func (c *rateControl) ownLoss(now time.Duration, loss float64) {
	t := &c.trial
	t.policed, t.own = false, loss
	first := firstTrialWait
	if loss > muchLoss {
		first = soonTrialWait
	}
	t.wait = min(max(2*t.wait, first), mostTrialWait)
	t.next = now + t.wait
}

// trialRepeats is what lost packets that are sent again may use while a trial runs, as a part of
// the target.
func (c *rateControl) trialRepeats() float64 { return min(2*c.trial.loss, 0.8) }

// trialProtection is what packets that make up for lost ones use while a trial runs, as a part of the
// target. Without them, the picture would wait for each packet that a trial shows to be lost.
func (c *rateControl) trialProtection() float64 {
	if !c.protected {
		return 0
	}
	return protectionAt(c.loss)
}
