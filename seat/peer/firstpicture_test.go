//go:build !fuzz

package peer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit/netline"
)

// firstPicture is how a session began.
type firstPicture struct {
	bytes   int64
	shown   time.Duration // from the connection to the first picture
	queue   time.Duration // the longest wait of a packet in the first two seconds
	sharp   [][2]float64  // age of a picture in ms, and its PSNR against that after 5 s
	bitrate int64
}

// begin is a session with a page of text, at 30 pictures a second at most.
func begin(t testing.TB, way netline.Way, start int) firstPicture {
	t.Helper()
	w := watchFrom(t, way, painting{fps: 30, text: true}, start, "#early")
	evaluate[any](t, w.page, "new Promise((r) => setTimeout(r, 5500))")
	shownAt := time.UnixMicro(int64(1000 * evaluate[float64](t, w.page, "state.firstAt")))
	f := firstPicture{bytes: w.firstSize.Load(), shown: shownAt.Sub(*w.connected.Load()), bitrate: w.bitrate.Load()}
	all, _ := w.line.Measured()
	for _, p := range all {
		if p.At.Before(w.connected.Load().Add(2 * time.Second)) {
			f.queue = max(f.queue, p.Waited)
		}
	}
	f.sharp = evaluate[[][2]float64](t, w.page, "sharp()")
	return f
}

func (f firstPicture) String() string {
	text := fmt.Sprintf("%d bytes, shown %v after the connection, the longest wait %v, bitrate %.1f Mbit/s, PSNR", f.bytes, f.shown.Round(time.Millisecond), f.queue.Round(time.Millisecond), float64(f.bitrate)/1e6)
	for _, s := range f.sharp {
		text += fmt.Sprintf(" %.0f ms: %.1f;", s[0], s[1])
	}
	return text
}

var firstLine = netline.Way{Rate: 2_000_000, Delay: 20 * time.Millisecond}

// The first picture of a session, a page of text, fits the first moments of a line of 2 Mbit/s.
func TestFirstPicture(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	f := begin(t, firstLine, 0)
	t.Log(f)
	if f.bytes == 0 || f.bytes > 28_000 {
		t.Errorf("the first picture has %d bytes", f.bytes)
	}
}

// BenchmarkFirstPicture begins sessions in turn: at the ceiling of the bitrate, as it was, and as it is.
func BenchmarkFirstPicture(b *testing.B) {
	for round := range 3 {
		for _, rate := range []int{2_000_000, 20_000_000} {
			for name, start := range map[string]int{"at the ceiling": ceiling, "as it is": 0} {
				b.Run(fmt.Sprintf("%d Mbit per s, %s, %d", rate/1_000_000, name, round), func(b *testing.B) {
					f := begin(b, netline.Way{Rate: rate, Delay: 20 * time.Millisecond}, start)
					b.Log(f)
					b.ReportMetric(float64(f.bytes)/1000, "KB")
					b.ReportMetric(float64(f.shown.Milliseconds()), "ms-shown")
					b.ReportMetric(float64(f.queue.Milliseconds()), "ms-longest-wait")
				})
			}
		}
	}
}
