package brain

import (
	"slices"
	"time"
)

// durations is the last 32 of something that is measured.
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

func (v *view) coldStart(app string) time.Duration     { return v.coldStarts[app].median() }
func (v *view) sessionLength(app string) time.Duration { return v.sessionLengths[app].median() }
