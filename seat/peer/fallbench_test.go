//go:build !fuzz

package peer_test

import (
	"fmt"
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

// firstQueue is when the queue that the fall made was gone: the last packet that waited 100 ms
// before half a second without one. later is the p95 of waits from 2 s on.
func firstQueue(l *netline.Line, fell time.Time) (gone, later time.Duration) {
	all, _ := l.Measured()
	var after []time.Duration
	over := false
	for _, w := range all {
		at := w.At.Sub(fell)
		if at > 2*time.Second {
			after = append(after, w.Waited)
		}
		over = over || gone > 0 && at > gone+500*time.Millisecond
		if !over && w.Waited > 100*time.Millisecond {
			gone = at
		}
	}
	if slices.Sort(after); len(after) > 0 {
		later = after[len(after)*95/100]
	}
	return gone, later
}

// waitsBySteps is the least, the middle and the longest wait of each half second, the packets that
// waited and the dropped ones.
func waitsBySteps(l *netline.Line, since time.Time) (text string) {
	const step = 500 * time.Millisecond
	all, _ := l.Measured()
	var in []time.Duration
	dropped, until := 0, since.Add(step)
	flush := func() {
		if slices.Sort(in); len(in) > 0 {
			text += fmt.Sprintf("%d/%d/%d of %d, %d dropped; ", in[0].Milliseconds(), in[len(in)/2].Milliseconds(), in[len(in)-1].Milliseconds(), len(in), dropped)
		}
		in, dropped, until = in[:0], 0, until.Add(step)
	}
	for _, w := range all {
		for w.At.After(until) {
			flush()
		}
		in = append(in, w.Waited)
		if w.Dropped {
			dropped++
		}
	}
	flush()
	return text
}

// BenchmarkFallingLine has a line fall from 20 to 2 Mbit/s, and come back. It reports when
// the queue that the fall made was gone, the waits after 2 s, when the last packet waited 100 ms
// (of a picture that was too large, or because the seat tried whether the line carries more), and
// when 80 % of the bitrate was back.
func BenchmarkFallingLine(b *testing.B) {
	const wide, thin = 20_000_000, 2_000_000
	w := watch(b, netline.Way{Rate: wide, Delay: 20 * time.Millisecond}, painting{fps: 30})
	before := w.measure(b, "20 Mbit/s", 5*time.Second)
	w.line.Begin()
	fell := time.Now()
	w.line.Set(netline.Way{Rate: thin, Delay: 20 * time.Millisecond})
	during := w.measure(b, "2 Mbit/s", 8*time.Second)
	longest, last := waits(w.line)
	first, later := firstQueue(w.line, fell)
	used := w.bitrate.Load()
	b.Logf("waits after the fall, in ms, each half second: %s", waitsBySteps(w.line, fell))

	w.line.Set(netline.Way{Rate: wide, Delay: 20 * time.Millisecond})
	back := time.Now()
	for w.bitrate.Load() < ceiling*8/10 && time.Since(back) < 15*time.Second {
		evaluate[any](b, w.page, "new Promise((r) => setTimeout(r, 50))")
	}
	recovered := time.Since(back)
	after := w.measure(b, "20 Mbit/s again", 2*time.Second)
	b.ReportMetric(first.Seconds(), "s-first-queue")
	b.ReportMetric(later.Seconds()*1000, "ms-p95-after-2s")
	b.ReportMetric(max(last.Sub(fell), 0).Seconds(), "s-last-100ms")
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
