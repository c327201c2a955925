package peer

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/internal/wire"
)

// Loss of 5 %, and jitter that makes packets overtake each other, do not lower the
// bitrate.
func TestBitrateOnALossyLine(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 10 s")
	}
	for name, way := range map[string]netline.Way{
		"5 % of loss, jitter of 10 ms": {Loss: 0.05, Jitter: 10 * time.Millisecond, Delay: 20 * time.Millisecond},
		"jitter of up to 40 ms":        {Spread: 40 * time.Millisecond, Delay: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bitrate, lowest atomic.Int64
			bitrate.Store(6_000_000)
			lowest.Store(6_000_000)
			l := netline.New(t, way)
			s := newSeat(t, func(cfg *Config) {
				cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true}
				cfg.MaxBitrateBPS = int(bitrate.Load())
				cfg.OnBitrate = func(bps int) {
					bitrate.Store(int64(bps))
					lowest.Store(min(lowest.Load(), int64(bps)))
				}
			})
			join(t, l, s, newClient(t))
			s.play(t, &bitrate, time.Second)
			lowest.Store(bitrate.Load())
			s.play(t, &bitrate, 10*time.Second)
			t.Logf("lowest %.1f Mbit/s, loss %.3f", float64(lowest.Load())/1e6, s.rate.control.loss)
			if lowest.Load() < 3_000_000 {
				t.Errorf("the bitrate fell from 6 to %.1f Mbit/s", float64(lowest.Load())/1e6)
			}
		})
	}
}
