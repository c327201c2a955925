package peer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// Loss is counted as it is where reports are lost as often as packets.
func TestLossWhereReportsAreLost(t *testing.T) {
	for _, loss := range []float64{0.05, 0.2} {
		e := newEstimator(100_000_000, 100_000_000, func(int) {})
		e.start = e.start.Add(-time.Hour)
		rng := rand.New(rand.NewPCG(1, 2))
		s := &stream{ssrc: 1}
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

// sentAndLost runs the line and returns the mean rate at which it was sent, and the part that was lost.
func (l *line) sentAndLost(length time.Duration) (bps, lost float64) {
	all, gone := l.all, l.gone
	l.run(length)
	sum := 0.0
	for _, t := range l.targets {
		sum += t
	}
	return sum / float64(len(l.targets)), float64(l.gone-gone) / float64(max(l.all-all, 1))
}

// A line that drops what is above its rate, and has no queue, is not sent more than it carries.
func TestRateOnAPolicedLine(t *testing.T) {
	const most = 6_000_000
	for _, rate := range []float64{500_000, 1_000_000, 2_000_000, 4_000_000, 5_700_000} {
		l := newLine(most, rate)
		l.police, l.depth = true, 100*time.Millisecond
		l.run(10 * time.Second)
		sent, lost := l.sentAndLost(60 * time.Second)
		t.Logf("%.1f Mbit/s: sends %.2f, %.1f %% lost, at most %.2f", rate/1e6, sent/1e6, 100*lost, slices.Max(l.targets)/1e6)
		if sent > 1.05*rate || lost > 0.05 {
			t.Errorf("%.1f Mbit/s: sends %.2f Mbit/s, and %.1f %% are lost", rate/1e6, sent/1e6, 100*lost)
		}
		if sent < 0.75*rate {
			t.Errorf("%.1f Mbit/s: sends only %.2f Mbit/s", rate/1e6, sent/1e6)
		}
	}
}

// What the line loses of everything does not lower the rate, but for trials.
func TestRateOnALineOfLoss(t *testing.T) {
	const most = 6_000_000
	for _, loss := range []float64{0.02, 0.05, 0.1, 0.2} {
		l := newLine(most, 20_000_000)
		l.loss = loss
		l.run(10 * time.Second)
		sent, _ := l.sentAndLost(120 * time.Second)
		t.Logf("%.0f %% of loss: sends %.2f Mbit/s, at least %.2f", 100*loss, sent/1e6, slices.Min(l.targets)/1e6)
		if sent < 0.9*most {
			t.Errorf("%.0f %% of loss: sends only %.2f of 6 Mbit/s", 100*loss, sent/1e6)
		}
	}
}

// Loss that comes and goes is not the rate's fault: most of the rate stays, and all of it is back
// soon afterwards.
func TestRateAfterLoss(t *testing.T) {
	const most = 6_000_000
	l := newLine(most, 20_000_000)
	l.run(10 * time.Second)
	lowest := float64(most)
	for range 10 {
		l.loss = 0.15
		l.run(time.Second)
		l.loss = 0
		l.run(4 * time.Second)
		lowest = min(lowest, l.control.target)
	}
	if lowest < 0.5*most {
		t.Errorf("loss that comes and goes leaves %.2f of 6 Mbit/s", lowest/1e6)
	}
	l.run(20 * time.Second)
	t.Logf("at least %.2f Mbit/s, and %.2f when it is over", lowest/1e6, l.control.target/1e6)
	if l.control.target < 0.9*most {
		t.Errorf("20 s after the loss the rate is %.2f of 6 Mbit/s", l.control.target/1e6)
	}
}
