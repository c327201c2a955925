//go:build !fuzz

package peer_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/netline"
	"github.com/nearcast/nearcast/seat/peer"
)

// BenchmarkSkew measures how far sound and picture of one moment are apart in Chromium: by the
// moments of capture that the RTP timestamps mean, when a picture was due on screen, and when
// sound left the jitter buffer for its track. What an audio device adds is not in it.
func BenchmarkSkew(b *testing.B) {
	for _, c := range []struct {
		name string
		way  netline.Way
	}{
		{"good", netline.Way{Delay: 20 * time.Millisecond}},
		{"5% of loss", netline.Way{Loss: 0.05, Jitter: 10 * time.Millisecond, Delay: 20 * time.Millisecond}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := watch(b, c.way, painting{fps: 30})
			w.measure(b, "the first seconds", 5*time.Second)
			before := w.peer.Stats().VideoFrames
			w.soundSent.take()
			m := evaluate[struct {
				Pictures, Sounds [][2]float64
				Buffers          [][3]float64
			}](b, w.page, fmt.Sprintf("moments(%d)", 10_000))
			captured := float64(w.peer.Stats().VideoFrames-before) / 300
			picture, sound := w.peer.Moments()
			p, s := ages(m.Pictures, picture), ages(m.Sounds, sound)
			if len(p) == 0 || len(s) == 0 {
				b.Fatalf("%d pictures and %d moments of sound were seen", len(p), len(s))
			}
			if late := w.soundSent.take(); len(late) > 0 {
				b.Logf("from the capture of sound to its sending: p10 %v, p50 %v, p90 %v, the most %v", late[len(late)/10], late[len(late)/2], late[len(late)*9/10], late[len(late)-1])
			}
			b.Logf("sound held, target, least, in ms, each half second: %.0f", m.Buffers)
			b.ReportMetric(median(p), "picture-age-ms")
			b.ReportMetric(median(s), "sound-age-ms")
			b.ReportMetric(median(s)-median(p), "sound-after-picture-ms")
			b.ReportMetric(100*captured, "%captured")
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
