package peer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// Reports are lost as packets are. What they had said counts neither as come nor as lost.
func TestLossWhereReportsAreLost(t *testing.T) {
	for _, loss := range []float64{0.05, 0.2} {
		e := newEstimator(100_000_000, func(int) {})
		e.start = e.start.Add(-time.Hour)
		rng := rand.New(rand.NewPCG(1, 2))
		s := newStream(1, e.control.max)
		var here []bool
		var sum float64
		number, base, reports, n := uint16(0), uint16(0), uint8(0), 0
		for now := time.Second; now < time.Minute; now += 5 * time.Millisecond {
			e.sendAt(now, s, number, &rtp.Header{SSRC: 1, SequenceNumber: number}, make([]byte, 1000))
			number++
			here = append(here, rng.Float64() >= loss)
			if len(here) < 20 || !here[len(here)-1] { // a report ends with a packet that came
				continue
			}
			report := reported(here...)
			report.BaseSequenceNumber, report.FbPktCount = base, reports
			base, here = number, nil
			reports++
			if rng.Float64() < loss {
				continue
			}
			e.report(now+40*time.Millisecond, report)
			if now > 5*time.Second {
				sum += e.control.loss
				n++
			}
		}
		counted := sum / float64(n)
		t.Logf("%.0f %% of packets and reports are lost: %.1f %% are counted", 100*loss, 100*counted)
		if counted < 0.85*loss || counted > 1.15*loss {
			t.Errorf("%.0f %% are lost, %.1f %% are counted", 100*loss, 100*counted)
		}
	}
}
