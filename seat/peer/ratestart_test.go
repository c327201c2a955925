package peer

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// A session begins low, so that its first picture takes a thin line for less long, and has what a wide one
// carries within a second. Where it began at 6 Mbit/s, packets waited 775 ms on 2.
func TestRateAtTheStart(t *testing.T) {
	const most = 6_000_000
	for _, c := range []struct {
		rate   float64
		least  float64 // of the rate that is possible, after a second
		queued time.Duration
	}{
		{500_000, 0.2, 1100 * time.Millisecond},
		{1_000_000, 0.25, 1100 * time.Millisecond},
		{2_000_000, 0.3, 650 * time.Millisecond},
		{5_000_000, 0.7, 150 * time.Millisecond},
		{20_000_000, 1, 30 * time.Millisecond},
		{100_000_000, 1, 20 * time.Millisecond},
	} {
		l := newLine(most, c.rate).opened()
		target, queue := l.control.target, slices.Max(l.waits)
		t.Logf("%.1f Mbit/s: after a second the target is %.2f Mbit/s; the longest wait %v", c.rate/1e6, target/1e6, queue)
		if target < c.least*min(c.rate, most) {
			t.Errorf("%.1f Mbit/s: after a second the target is %.2f Mbit/s", c.rate/1e6, target/1e6)
		}
		if queue > c.queued {
			t.Errorf("%.1f Mbit/s: packets wait %v", c.rate/1e6, queue)
		}
	}
	if c := newRateControl(most); c.target != startBPS {
		t.Errorf("a session begins at %.0f", c.target)
	}
	if c := newRateControl(1_000_000); c.target != 1_000_000 || c.starting {
		t.Errorf("a session of at most 1 Mbit/s begins at %.0f", c.target)
	}
}

// The encoder is told where a session begins before its first picture.
func TestStartIsToldFirst(t *testing.T) {
	told := make(chan string, 100)
	s := newSeat(t, func(cfg *Config) {
		states := cfg.OnState
		cfg.OnBitrate = func(bps int) { told <- strconv.Itoa(bps) }
		cfg.OnState = func(st State) {
			if st == Connected {
				told <- "connected"
			}
			states(st)
		}
	})
	connect(t, s, newClient(t))
	for _, want := range []string{strconv.Itoa(startBPS), "connected"} {
		if got := wait(t, told, want); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	}
}

// A busy node at the start leaves a session at half of its rate for some seconds, and not below.
func TestRateAtABusyStart(t *testing.T) {
	l := newLine(6_000_000, 20_000_000)
	busy := 2 * time.Second
	l.way = func(at time.Duration) time.Duration {
		if at < busy { // what is sent comes together, late
			return 20*time.Millisecond + (200*time.Millisecond - at%(200*time.Millisecond))
		}
		return 20 * time.Millisecond
	}
	l.opened()
	l.run(busy)
	if least := slices.Min(l.targets); least < startBPS {
		t.Errorf("the rate fell to %.1f Mbit/s", least/1e6)
	}
	l.run(5 * time.Second)
	if l.control.target < 0.8*6_000_000 {
		t.Errorf("the rate is %.1f Mbit/s", l.control.target/1e6)
	}
}
