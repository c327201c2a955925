package capture

import (
	"testing"
	"time"
)

func TestRhythm(t *testing.T) {
	const interval = time.Second / 30
	var r rhythm
	now := time.Now()
	run := func(gap time.Duration, n int) (stretch float64) {
		for range n {
			now = now.Add(gap)
			stretch = r.picture(now, interval)
		}
		return stretch
	}
	for _, c := range []struct {
		what        string
		gap         time.Duration
		n           int
		least, most float64
	}{
		{"the first picture", 0, 1, 1, 1},
		{"the full rate", interval, 30, 1, 1},
		{"a third of it", 3 * interval, 20, 2.8, 3},
		{"the full rate again", interval, 4, 1, 1.2},
		{"a tenth", 7 * interval, 20, 3, 3},
		{"after a still picture", 5 * time.Second, 1, 1, 1},
		{"heartbeats", time.Second, 10, 1, 1},
	} {
		if got := run(c.gap, c.n); got < c.least || got > c.most {
			t.Errorf("%s: %.2f times the size, want %.2f to %.2f", c.what, got, c.least, c.most)
		}
	}
}
