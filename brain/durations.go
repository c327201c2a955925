package brain

import (
	"slices"
	"time"
)

// durations is the last 32 of something that is measured.
type durations struct {
	last   [32]time.Duration
	n      int
	middle time.Duration
	sum    time.Duration
}

func (d *durations) add(one time.Duration) {
	d.sum += one - d.last[d.n%len(d.last)]
	d.last[d.n%len(d.last)] = one
	d.n++
	s := d.last // a copy
	known := s[:min(d.n, len(s))]
	slices.Sort(known)
	d.middle = known[len(known)/2]
}

// median is zero while nothing was measured.
func (d *durations) median() time.Duration { return d.middle }

// mean is zero while nothing was measured. What ends in a time follows from it, and not from
// the median: a few long sessions hold most of the seats.
func (d *durations) mean() time.Duration { return d.sum / time.Duration(max(1, min(d.n, len(d.last)))) }
