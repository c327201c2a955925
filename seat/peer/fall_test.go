//go:build !fuzz

package peer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/netline"
)

// waits is how long the seat's packets waited for the line.
func waits(l *netline.Line) (longest time.Duration, lastLong time.Time) {
	all, _ := l.Measured()
	for _, w := range all {
		longest = max(longest, w.Waited)
		if w.Waited > 100*time.Millisecond {
			lastLong = w.At
		}
	}
	return longest, lastLong
}

// TestFallingLine has a line fall from 20 to 2 Mbit/s, and come back.
func TestFallingLine(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 25 s")
	}
	const wide, thin = 20_000_000, 2_000_000
	w := watch(t, netline.Way{Rate: wide, Delay: 20 * time.Millisecond}, painting{fps: 30})
	before := w.measure(t, "20 Mbit/s", 5*time.Second)
	w.line.Begin()
	fell := time.Now()
	w.line.Set(netline.Way{Rate: thin, Delay: 20 * time.Millisecond})
	during := w.measure(t, "2 Mbit/s", 8*time.Second)
	longest, last := waits(w.line)
	queue := max(last.Sub(fell), 0)
	used := w.bitrate.Load()

	w.line.Set(netline.Way{Rate: wide, Delay: 20 * time.Millisecond})
	back := time.Now()
	for w.bitrate.Load() < ceiling*8/10 && time.Since(back) < 15*time.Second {
		evaluate[any](t, w.page, "new Promise((r) => setTimeout(r, 50))")
	}
	recovered := time.Since(back)
	after := w.measure(t, "20 Mbit/s again", 2*time.Second)
	t.Logf("the queue is below 100 ms after %v, longest wait %v, %.2f of 2 Mbit/s; 80 %% are back after %v", queue, longest, float64(used)/1e6, recovered)
	if slices.ContainsFunc([]shown{before, during, after}, shown.busy) {
		return
	}
	if queue > 2*time.Second {
		t.Errorf("the queue is above 100 ms until %v after the fall", queue)
	}
	if recovered > 8*time.Second {
		t.Errorf("80 %% are back after %v", recovered)
	}
}

// TestJitterIsNoLoss has packets overtake each other by up to 40 ms.
func TestJitterIsNoLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 15 s")
	}
	w := watch(t, netline.Way{Spread: 40 * time.Millisecond, Delay: 20 * time.Millisecond}, painting{fps: 30})
	w.measure(t, "jitter of up to 40 ms, the first seconds", 3*time.Second)
	w.lowest.Store(ceiling)
	s := w.measure(t, "jitter of up to 40 ms", 12*time.Second)
	lowest := w.lowest.Load()
	t.Logf("the bitrate is at least %.1f Mbit/s", float64(lowest)/1e6)
	if s.busy() {
		return
	}
	if lowest < ceiling*8/10 || s.PLIs > 0 || s.Frozen > 0.5 {
		t.Errorf("the bitrate fell to %.1f of 6 Mbit/s, %d keyframes were asked for, the picture froze for %.2f s", float64(lowest)/1e6, s.PLIs, s.Frozen)
	}
}
