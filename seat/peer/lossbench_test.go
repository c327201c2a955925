//go:build !fuzz

package peer_test

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/netline"
)

// BenchmarkLossyLine is the picture at 5 % of loss and 10 ms of jitter in Chromium, in 12 s from the third
// second on: how long it stood still, and what was received for it.
//
//	go test -run xx -bench LossyLine -benchtime 1x -count 5 ./seat/peer
func BenchmarkLossyLine(b *testing.B) {
	for b.Loop() {
		const length = 12 * time.Second
		w := watch(b, netline.Way{Loss: 0.05, Jitter: 10 * time.Millisecond, Delay: 20 * time.Millisecond}, painting{fps: 30})
		w.measure(b, "the first seconds", 3*time.Second)
		s := w.measure(b, "5 % of loss", length)
		b.ReportMetric(s.Frozen, "frozen-s")
		b.ReportMetric(float64(s.Freezes), "freezes")
		b.ReportMetric(s.Longest, "longest-ms")
		b.ReportMetric(s.PictureDelay, "buffer-ms")
		b.ReportMetric(8*s.Bytes/length.Seconds()/1e6, "received-Mbit/s")
		b.ReportMetric(s.Captured, "captured")
	}
}
