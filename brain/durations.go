package brain

import (
	"slices"
	"time"
)

// durations is the last few of something measured.
type durations struct {
	last [32]time.Duration
	n    int
}

func sample(m map[string]*durations, app string, d time.Duration) {
	if m[app] == nil {
		m[app] = &durations{}
	}
	m[app].last[m[app].n%len(durations{}.last)] = d
	m[app].n++
}

// median is zero while nothing was measured.
func (d *durations) median() time.Duration {
	if d == nil || d.n == 0 {
		return 0
	}
	s := slices.Clone(d.last[:min(d.n, len(d.last))])
	slices.Sort(s)
	return s[len(s)/2]
}
