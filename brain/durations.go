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
}

func (d *durations) add(one time.Duration) {
	d.last[d.n%len(d.last)] = one
	d.n++
	s := d.last // a copy
	known := s[:min(d.n, len(s))]
	slices.Sort(known)
	d.middle = known[len(known)/2]
}

// median is zero while nothing was measured.
func (d *durations) median() time.Duration { return d.middle }
