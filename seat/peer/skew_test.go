//go:build !fuzz

package peer_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/seat/peer"
)

// TestSkew measures how far sound and picture of one moment are apart in Chromium: by the
// moments of capture that the RTP timestamps mean, when a picture was due on screen, and when
// sound left the jitter buffer for its track. What an audio device adds is not in it.
func TestSkew(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 30 s")
	}
	const most = 45 // ms
	for _, c := range []struct {
		name string
		way  netline.Way
	}{
		{"a good line", netline.Way{Delay: 20 * time.Millisecond}},
		{"5 % of loss", netline.Way{Loss: 0.05, Jitter: 10 * time.Millisecond, Delay: 20 * time.Millisecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t, c.way, painting{fps: 30})
			w.measure(t, "the first seconds", 5*time.Second)
			before := w.peer.Stats().VideoFrames
			m := evaluate[struct{ Pictures, Sounds [][2]float64 }](t, w.page, fmt.Sprintf("moments(%d)", 10_000))
			busy := float64(w.peer.Stats().VideoFrames-before) < 0.9*300
			picture, sound := w.peer.Moments()
			p, s := ages(m.Pictures, picture), ages(m.Sounds, sound)
			if len(p) < 100 || len(s) < 50 {
				t.Fatalf("%d pictures and %d moments of sound were seen", len(p), len(s))
			}
			skew := median(s) - median(p)
			t.Logf("pictures are %.0f ms old, sound %.0f ms: it comes %.0f ms after the picture; busy %v", median(p), median(s), skew, busy)
			if math.Abs(skew) > most && !busy {
				t.Errorf("the sound comes %.0f ms after the picture", skew)
			}
		})
	}
}

// ages is how old each was when it was seen, in ms, in order.
func ages(seen [][2]float64, m peer.Moment) (all []float64) {
	for _, s := range seen {
		captured := float64(m.At.UnixMicro())/1000 + 1000*float64(int32(uint32(s[0])-m.Timestamp))/m.Rate
		all = append(all, s[1]-captured)
	}
	slices.Sort(all)
	return all
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }
