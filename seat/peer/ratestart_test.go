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

// A session whose line is known to be thin begins at what that carries, and goes on as it did.
func TestRateOfAKnownLine(t *testing.T) {
	const most = 6_000_000
	for _, rate := range []float64{300_000, 600_000, 2_000_000} {
		former := newLine(most, rate)
		former.run(20 * time.Second)
		l := newLine(most, rate)
		l.control.begins(int(former.control.target))
		l.run(3 * time.Second)
		queue, used := slices.Max(l.waits), l.used(3*time.Second, rate)
		t.Logf("%.1f Mbit/s: begins at %.2f Mbit/s; the longest wait %v, %.0f %% used", rate/1e6, former.control.target/1e6, queue, 100*used)
		if queue > 200*time.Millisecond || used < 0.6 {
			t.Errorf("%.1f Mbit/s: packets wait %v, and %.0f %% are used", rate/1e6, queue, 100*used)
		}
	}
	c := newRateControl(most)
	for _, bps := range []int{0, startBPS, most} {
		if c.begins(bps); c.target != startBPS || !c.starting {
			t.Errorf("known to carry %d: begins at %.0f", bps, c.target)
		}
	}
	// The line is better now.
	l := newLine(most, 20_000_000)
	l.control.begins(500_000)
	for l.control.target < 0.8*most && l.now < time.Minute {
		l.run(time.Second / 2)
	}
	t.Logf("from 0.5 Mbit/s on a line of 20: 80 %% of 6 after %v", l.now)
	if l.now > 8*time.Second {
		t.Errorf("80 %% of the rate after %v", l.now)
	}
}

// The encoder is told where a session begins before its first picture.
func TestStartIsToldFirst(t *testing.T) {
	for known, begins := range map[int]int{0: startBPS, 500_000: 500_000} {
		startIsToldFirst(t, known, begins)
	}
}

func startIsToldFirst(t *testing.T, known, begins int) {
	t.Helper()
	told := make(chan string, 100)
	s := newSeat(t, func(cfg *Config) {
		states := cfg.OnState
		cfg.StartBPS = known
		cfg.OnBitrate = func(bps int) { told <- strconv.Itoa(bps) }
		cfg.OnState = func(st State) {
			if st == Connected {
				told <- "connected"
			}
			states(st)
		}
	})
	connect(t, s, newClient(t))
	for _, want := range []string{strconv.Itoa(begins), "connected"} {
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
