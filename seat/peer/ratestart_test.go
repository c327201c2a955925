package peer

import (
	"slices"
	"testing"
	"time"
)

// A new connection learns what the line carries from its first picture.
func TestRateAtTheStart(t *testing.T) {
	const most = 6_000_000
	for _, c := range []struct {
		rate   float64
		least  float64 // of the rate that is possible, after a second
		queued time.Duration
	}{
		{500_000, 0.2, 1100 * time.Millisecond},
		{1_000_000, 0.25, 700 * time.Millisecond},
		{2_000_000, 0.6, 300 * time.Millisecond},
		{5_000_000, 0.7, 60 * time.Millisecond},
		{20_000_000, 1, 30 * time.Millisecond},
		{100_000_000, 1, 20 * time.Millisecond},
	} {
		l := newLine(most, c.rate)
		l.control = newRateControl(most, startBPS)
		for range 20 { // the first picture is as large as two others and more
			l.send(0, payloadSize)
		}
		var known time.Duration
		for l.now < time.Second {
			waits := l.waits
			l.run(30 * time.Millisecond)
			l.waits = append(waits, l.waits...)
			if known == 0 && !l.control.starting {
				known = l.now
			}
		}
		target, queue := l.control.target, slices.Max(l.waits)
		t.Logf("%.1f Mbit/s: known after %v; after a second the target is %.2f Mbit/s; the longest wait %v", c.rate/1e6, known, target/1e6, queue)
		if want := c.least * min(c.rate, most); known == 0 || known > 300*time.Millisecond || target < want {
			t.Errorf("%.1f Mbit/s: known after %v, after a second the target is %.2f Mbit/s", c.rate/1e6, known, target/1e6)
		}
		if queue > c.queued {
			t.Errorf("%.1f Mbit/s: packets wait %v", c.rate/1e6, queue)
		}
	}
}

// Where the browser waited for a processor within the first picture, the line is not thin.
func TestRateAtABusyStart(t *testing.T) {
	c := newRateControl(6_000_000, startBPS)
	var acks []ack
	for i := range 17 {
		sent := time.Second + time.Duration(i)*50*time.Microsecond
		arrived := sent + 20*time.Millisecond
		if i > 5 {
			arrived += 40 * time.Millisecond
		}
		acks = append(acks, ack{sent: sent, arrived: clockOffset + arrived, size: 1200})
	}
	if c.report(1200*time.Millisecond, acks); c.target < 6_000_000 {
		t.Errorf("the rate is %.1f Mbit/s", c.target/1e6)
	}
}
