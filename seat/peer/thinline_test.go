package peer

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
)

// join exchanges offer and answer so that both ends meet only by the line.
func join(t *testing.T, l *netline.Line, s *seat, c *client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	answer, err := s.Answer(ctx, netline.WithoutCandidates(c.offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: l.Through(t, answer)}); err != nil {
		t.Fatal(err)
	}
	s.reaches(t, Connected)
	wait(t, s.keyframes, "request of the first keyframe")
}

// play sends pictures for some time, as an encoder makes them at the bitrate that
// it is told.
func (s *seat) play(t *testing.T, bitrate *atomic.Int64, length time.Duration) {
	t.Helper()
	const fps = 30
	tick := time.NewTicker(time.Second / fps)
	defer tick.Stop()
	end := time.Now().Add(length)
	start := time.Now()
	for key := true; time.Now().Before(end); key = false {
		select {
		case <-s.keyframes:
			key = true
		default:
		}
		size := int(bitrate.Load()) / 8 / fps
		if key {
			size *= 3
		}
		size = size * (80 + rand.IntN(40)) / 100 // sizes differ
		if err := s.WriteVideo(Frame{Data: accessUnit(key, max(size, 50)), Keyframe: key, PTS: time.Since(start)}); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// TestThinLine checks the delay on lines that buffer for a second.
func TestThinLine(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 18 s")
	}
	const settle, measure = 10 * time.Second, 8 * time.Second
	for name, c := range map[string]struct {
		rate  int
		loss  float64
		p95   time.Duration // of the wait in the queue
		least float64       // part of the rate that is used; TestRateOn… ask for more, in simulated time
		depth time.Duration // how long a packet may wait; 0 is a second
	}{
		"1 Mbit/s":               {1_000_000, 0, 150 * time.Millisecond, 0.4, 0},
		"300 kbit/s":             {300_000, 0, 150 * time.Millisecond, 0.4, 0},
		"10 Mbit/s, 1 % of loss": {10_000_000, 0.01, 150 * time.Millisecond, 0.2, 0},
		"2 Mbit/s, policed":      {2_000_000, 0, 150 * time.Millisecond, 0.4, 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bitrate atomic.Int64
			bitrate.Store(6_000_000)
			l := netline.New(t, netline.Way{Rate: c.rate, Loss: c.loss, Depth: c.depth})
			s := newSeat(t, func(cfg *Config) {
				cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true}
				cfg.MaxBitrateBPS = int(bitrate.Load())
				cfg.OnBitrate = func(bps int) { bitrate.Store(int64(bps)) }
			})
			cl := newClient(t)
			join(t, l, s, cl)
			s.play(t, &bitrate, settle)
			l.Begin()
			s.play(t, &bitrate, measure)
			all, passed := l.Measured()
			var waits []time.Duration
			dropped := 0
			for _, w := range all {
				if w.Dropped {
					dropped++
				} else {
					waits = append(waits, w.Waited)
				}
			}
			slices.Sort(waits)
			p50, p95 := waits[len(waits)/2], waits[len(waits)*95/100]
			used := float64(passed*8) / measure.Seconds() / float64(c.rate)
			t.Logf("wait p50 %v, p95 %v, max %v; %d of %d packets dropped; %.0f %% of the line used; bitrate %d",
				p50, p95, waits[len(waits)-1], dropped, len(all), 100*used, bitrate.Load())
			if p95 > c.p95 {
				t.Errorf("packets wait %v (p95) in the line's queue, want at most %v", p95, c.p95)
			}
			if lost := float64(dropped)/float64(len(all)) - c.loss; c.depth > 0 && lost > 0.1 {
				t.Errorf("%.0f %% of the packets are dropped", 100*lost)
			}
			if used < c.least {
				t.Errorf("only %.0f %% of the line is used, want %.0f %%", 100*used, 100*c.least)
			}
		})
	}
}
