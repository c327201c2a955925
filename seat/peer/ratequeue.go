package peer

import (
	"math"
	"time"
)

// tailQueue is the queue that the last packets of a report show: those at its begin may
// have passed before the line became thin. rising says that no packet waited longer than
// the last one. After a radio stalled, the first waited longest.
func (c *rateControl) tailQueue(acks []ack, queue time.Duration) (tail time.Duration, rising bool) {
	var end, last, longest time.Duration
	for _, a := range acks {
		if !a.lost && a.sent >= end {
			end, last = a.sent, a.arrived-a.sent
		}
	}
	tail, longest = math.MaxInt64, last
	for _, a := range acks {
		if a.lost {
			continue
		}
		longest = max(longest, a.arrived-a.sent)
		if end-a.sent <= tailTime {
			tail = min(tail, a.arrived-a.sent-c.base.least())
		}
	}
	if tail == math.MaxInt64 {
		return queue, false
	}
	return tail, last > longest-steep
}

// together reports whether most packets came at the heels of those before them, much
// faster than they are sent. A line that is full lets them through one by one, at its
// own rate. Where they come together, something that is not the line held them back: the
// browser or this process waited for a processor, or a radio stalled. Some radios send
// so all the time; a queue of theirs is believed where it lasts, and step by step.
func (c *rateControl) together(acks []ack) bool {
	heels, n := 0, 0
	var before time.Duration
	for _, a := range acks {
		if a.lost {
			continue
		}
		if n++; n > 1 && (a.arrived-before).Seconds()*3*c.target < float64(8*a.size) {
			heels++
		}
		before = a.arrived
	}
	return 2*heels > n
}

// starved reports whether packets since a moment came much slower than they were sent.
func (c *rateControl) starved(since time.Duration) bool {
	arrived, sent := c.delivered(since)
	return arrived < 0.8*sent
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

// shortest remembers the shortest delay of the last one to two baseWindows.
type shortest struct {
	since       time.Duration
	now, before time.Duration
	known       bool
}

func (s *shortest) update(at, delay time.Duration) time.Duration {
	switch {
	case !s.known:
		*s = shortest{since: at, now: delay, before: delay, known: true}
	case at-s.since > baseWindow:
		s.since, s.before, s.now = at, s.now, delay
	default:
		s.now = min(s.now, delay)
	}
	return s.least()
}

func (s *shortest) least() time.Duration { return min(s.now, s.before) }
