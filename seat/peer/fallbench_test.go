//go:build !fuzz

package peer_test

import (
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

// BenchmarkFallingLine has a line fall from 20 to 2 Mbit/s, and come back. It reports when the
// last packet waited 100 ms, and when 80 % of the bitrate was back.
func BenchmarkFallingLine(b *testing.B) {
	const wide, thin = 20_000_000, 2_000_000
	w := watch(b, netline.Way{Rate: wide, Delay: 20 * time.Millisecond}, painting{fps: 30})
	before := w.measure(b, "20 Mbit/s", 5*time.Second)
	w.line.Begin()
	fell := time.Now()
	w.line.Set(netline.Way{Rate: thin, Delay: 20 * time.Millisecond})
	during := w.measure(b, "2 Mbit/s", 8*time.Second)
	longest, last := waits(w.line)
	used := w.bitrate.Load()

	w.line.Set(netline.Way{Rate: wide, Delay: 20 * time.Millisecond})
	back := time.Now()
	for w.bitrate.Load() < ceiling*8/10 && time.Since(back) < 15*time.Second {
		evaluate[any](b, w.page, "new Promise((r) => setTimeout(r, 50))")
	}
	recovered := time.Since(back)
	after := w.measure(b, "20 Mbit/s again", 2*time.Second)
	b.ReportMetric(max(last.Sub(fell), 0).Seconds(), "s-queue")
	b.ReportMetric(longest.Seconds()*1000, "ms-longest-wait")
	b.ReportMetric(float64(used)/1e6, "Mbit/s-of-2")
	b.ReportMetric(recovered.Seconds(), "s-back")
	b.ReportMetric(min(before.Captured, during.Captured, after.Captured), "captured")
}

// BenchmarkJitter has packets overtake each other by up to 40 ms, which is no loss: the lowest
// bitrate is to be the highest.
func BenchmarkJitter(b *testing.B) {
	w := watch(b, netline.Way{Spread: 40 * time.Millisecond, Delay: 20 * time.Millisecond}, painting{fps: 30})
	w.measure(b, "jitter of up to 40 ms, the first seconds", 3*time.Second)
	w.lowest.Store(ceiling)
	s := w.measure(b, "jitter of up to 40 ms", 12*time.Second)
	b.ReportMetric(float64(w.lowest.Load())/1e6, "Mbit/s-lowest-of-6")
	b.ReportMetric(float64(s.PLIs), "keyframes-asked-for")
	b.ReportMetric(s.Frozen, "s-frozen")
	b.ReportMetric(s.Captured, "captured")
}
