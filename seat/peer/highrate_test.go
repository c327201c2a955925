package peer

import (
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// A line falls from 100 to 10 Mbit/s. What it says comes a round trip of 100 ms later, and the queue's wait: it is
// still about packets that are remembered.
func TestFallAtAHighBitrate(t *testing.T) {
	const most, way, fall = 100_000_000, 50 * time.Millisecond, 2 * time.Second
	e := newEstimator(most, func(int) {})
	e.start = e.start.Add(-time.Hour)
	e.control.target, e.control.starting = most, false
	s := newStream(1, most)
	var number, base uint16
	var flying []time.Duration // when each packet arrives, from base on
	var free time.Duration
	var peak, back time.Duration
	reports := uint8(0)
	bits := 0.0
	for now := time.Second; now < fall+4*time.Second; now += time.Millisecond {
		rate := float64(most)
		if now >= fall {
			rate = 10_000_000
		}
		for bits += e.control.target / 1000; bits > 0; bits -= 8 * payloadSize {
			e.sendAt(now, s, number, &rtp.Header{SSRC: 1, SequenceNumber: number}, make([]byte, payloadSize))
			number++
			free = max(free, now)
			peak = max(peak, free-now)
			free += time.Duration(8 * payloadSize / rate * float64(time.Second))
			flying = append(flying, free+way)
		}
		if now%(100*time.Millisecond) != 0 {
			continue
		}
		r := &rtcp.TransportLayerCC{BaseSequenceNumber: base, FbPktCount: reports}
		var last time.Duration
		n := 0
		for n < len(flying) && flying[n]+way <= now {
			r.RecvDeltas = append(r.RecvDeltas, &rtcp.RecvDelta{Type: rtcp.TypeTCCPacketReceivedSmallDelta, Delta: (flying[n] - last).Microseconds()})
			last = flying[n]
			n++
		}
		if n == 0 {
			continue
		}
		r.PacketStatusCount = uint16(n)
		r.PacketChunks = []rtcp.PacketStatusChunk{&rtcp.RunLengthChunk{PacketStatusSymbol: rtcp.TypeTCCPacketReceivedSmallDelta, RunLength: uint16(n)}}
		flying, base = flying[n:], base+uint16(n)
		reports++
		if e.report(now, r); len(e.acks) != n {
			t.Fatalf("after %v, %d of %d packets that are reported are remembered", now, len(e.acks), n)
		}
		if back == 0 && now > fall && e.control.target < 10_000_000 {
			back = now - fall
		}
	}
	t.Logf("the target is below the line's rate after %v; packets waited up to %v", back, peak)
	if back == 0 || back > 2*time.Second {
		t.Errorf("the target is below the line's rate after %v, and is %.0f", back, e.control.target)
	}
}

// Two seconds are remembered up to the limit of the numbers.
func TestHistorySize(t *testing.T) {
	for _, c := range []struct {
		bps  int
		want uint16
	}{{100_000, 2048}, {6_000_000, 2048}, {10_000_000, 4096}, {30_000_000, 8192}, {100_000_000, 32768}, {1_000_000_000, 32768}} {
		if got := historySize(c.bps); got != c.want {
			t.Errorf("at %d bit/s %d packets are remembered, want %d", c.bps, got, c.want)
		}
	}
}
