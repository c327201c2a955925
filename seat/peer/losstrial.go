package peer

import (
	"math"
	"math/bits"
	"time"
)

const (
	// trialLoss is the loss from which on a trial begins. Below it, chance shows too much.
	trialLoss = 0.04
	// trialSettle is the time until a trial counts: what was lost before it is sent again.
	trialSettle = 150 * time.Millisecond
	// trialLength ends a trial in which too little was sent to tell.
	trialLength = 2500 * time.Millisecond
	// A trial tells when trialLost packets would have been lost at the loss before it. With a
	// fifth of them or less, the loss came from the rate; from ownPart to morePart of them, it is the
	// line's own. Else the trial goes on with lessStep of the rate, mostSteps times at most: it tells when
	// stepLost packets would have been lost at the loss that there was meanwhile, and lessPart of them is little.
	trialLost = 15
	trialPart = 0.2
	ownPart   = 0.6
	morePart  = 2
	lessStep  = 0.8
	mostSteps = 2
	stepLost  = 8
	lessPart  = 0.3
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
	// What a line that is known to police loses below its rate is its own loss where lossyCounts of the last eight
	// counts saw some: it drops a part of one large picture as well. It is below its rate with leastPoliced of what
	// came through before the trial.
	lossyCounts  = 5
	leastPoliced = 0.5
	// A line's own loss is forgotten where it lost less than ownCalm of it in all counts of as many packets as would
	// have lost it ownLost.
	ownCalm = 0.25
	ownLost = 15
)

// lossTrial finds out why a line loses packets without a queue. Many providers limit a line by
// dropping what is above its rate (policing); a radio loses the same part of much and of little. So
// for a second less is sent than what came through:
//
//   - Less is lost: the line was full at the rate that came through. The target goes below it, and
//     rises as on other full lines.
//   - Something between: the line drops a part of bursts, also below its rate. Or more is lost than before: still
//     more is sent than it carries. The trial goes on with less.
//   - As much is lost: it is the line's own loss. The target is what it was, and the next trial
//     comes after 10 s, 20 s, … 80 s, or when twice as much is lost. Above a tenth it comes after 2 s, 4 s, ….
//
// So a trial takes about a second, and up to 7.5 s with about half of the rate where the loss goes with the rate in part.
//
// Without it, on a simulated line that polices 2 Mbit/s 16 to 22 % of packets were lost
// (TestRateOnPolicedLines).
type lossTrial struct {
	running   bool
	since     time.Duration
	from      float64 // the target before
	delivered float64 // the rate that came through
	first     float64 // the loss before
	loss      float64 // what the present part is compared with
	began     time.Duration
	all, gone int
	steps     int // how often the trial went on with less

	wait, next time.Duration
	own        float64 // the line's own loss, by the last trial
	calm       int     // packets since it last lost ownCalm of that
	policed    bool    // by the last trial that told
	below      float64 // the target that was set then, or since
	lossy      uint8   // a bit for each of the last counts: some was lost there
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
	enough, little := float64(trialLost), trialPart
	if t.steps > 0 {
		enough, little = stepLost, lessPart
	}
	expected := t.loss * float64(t.all)
	told := expected >= enough
	if !told && now-t.since < trialLength {
		return true
	}
	// Where little is sent, half of that is enough if nothing is lost.
	told = told || t.steps > 0 && t.gone == 0 && expected >= stepLost/2
	c.loss = float64(t.gone) / float64(max(t.all, 1))
	c.floor.update(now, c.loss)
	c.lossAt, c.all, c.gone = now, 0, 0
	part := float64(t.gone) / expected
	if told && t.steps < mostSteps && (part > little && part < ownPart || part > morePart) {
		less := lessStep * c.target
		if part < ownPart {
			t.loss = (t.loss + c.loss) / 2 // either may have been luck
		} else {
			t.loss = c.loss
			if arrived, _ := c.delivered(c.latest - deliveryWindow); !math.IsInf(arrived, 1) {
				less = min(less, c.lessThan(arrived))
			}
		}
		t.since, t.all, t.gone = now, 0, 0
		t.steps++
		c.set(less)
		return true
	}
	t.running = false
	if told && part <= little && (t.steps == 0 || c.loss < ownPart*t.first) { // and not a spike of loss that ended
		rate := t.delivered
		if t.steps > 0 {
			// Too much was sent a step before, and little enough now: between them.
			rate = min(rate, c.target*(1+1/lessStep)/2/policedPart)
		}
		t.policed, t.wait, t.own = true, 0, 0
		c.police(now, rate)
		return false
	}
	if c.cut < t.began { // else there was a queue
		c.set(max(t.from, c.target))
	}
	c.ownLoss(now, max(t.first, c.loss))
	return false
}

// mayTry begins a trial where loss may come from the rate. Where the line is known to drop what is
// too much, it lowers the target without one.
func (c *rateControl) mayTry(now time.Duration, loss float64) {
	t := &c.trial
	if loss >= ownCalm*t.own {
		t.calm = 0
	} else if t.calm += c.all; float64(t.calm)*t.own > ownLost {
		t.own = 2 * c.loss // it was not the line's own, or is no more
	}
	if c.long > 0 || now-c.queued < queueMemory {
		return // a full queue drops packets as well, and congested sees it
	}
	arrived, sent := c.delivered(c.latest - deliveryWindow)
	if math.IsInf(arrived, 1) || math.IsInf(sent, 1) || sent < 0.5*c.target {
		return // a still picture says nothing about the line
	}
	switch {
	case t.policed && c.full(now):
		t.lossy <<= 1
		if loss >= littleLoss+c.usual() {
			t.lossy |= 1
		}
		switch {
		case t.lossy&1 == 0 || now-c.cut < trialLength:
		case c.target > max(1.01*t.below, leastPoliced*t.delivered):
			c.police(now, (c.filled+min(arrived, c.target*(1-loss)))/2)
		case bits.OnesCount8(t.lossy) >= lossyCounts: // loss did not go with the rate
			c.filled = 0
			c.ownLoss(now, loss)
		}
	case loss >= trialLoss && (now >= t.next || loss > 2*t.own):
		c.starting = false
		*t = lossTrial{running: true, since: now, from: c.target, delivered: arrived, first: loss, loss: loss, began: now, wait: t.wait, own: t.own}
		less := c.lessThan(arrived)
		if loss < muchLoss { // a fifth less shows it
			less = max(less, 0.82*min(c.target, sent/(1-loss)))
		}
		c.set(min(c.target, less))
	}
}

// lessThan is what a trial may send where a rate came through: what is sent again comes on top.
func (c *rateControl) lessThan(arrived float64) float64 {
	return 0.98 * arrived / (1 + c.trialRepeats() + c.trialProtection())
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
	t.policed, t.own, t.calm = false, loss, 0
	first := firstTrialWait
	if loss > muchLoss {
		first = soonTrialWait
	}
	t.wait = min(max(2*t.wait, first), mostTrialWait)
	t.next = now + t.wait
}

// mayBeFull says that the line is full, or that it may be (unexplained). Then what is sent again comes out of the target:
// else it adds to what the line drops, and is dropped itself and sent again. Measured on a line of 2 Mbit/s that holds
// 30 ms: of 25 new packets it dropped 10, and 75 of 85 that were sent again at the same time.
func (c *rateControl) mayBeFull(now time.Duration) bool { return c.full(now) || c.unexplained() }

// unexplained says that the line loses some and no trial has told yet that it is its own loss.
func (c *rateControl) unexplained() bool { return c.loss >= trialLoss && c.loss > 2*c.trial.own }

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
