//go:build !fuzz

package peer_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/capture"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// painting is what a painter draws.
type painting struct {
	fps int
	// corner draws a counter of 64x64 pixels only, else the whole picture moves.
	corner bool
}

const pictureWidth, pictureHeight = 1280, 720

// painter starts a display on which a picture of much detail moves, as a game's does:
// an encoder needs all the bits that it gets.
func painter(t testing.TB, p painting) (display string) {
	t.Helper()
	display, _ = testkit.Xvfb(t, nil)
	x, err := xgb.NewConnDisplay(display)
	testkit.Must(t, err)
	root := xproto.Setup(x).DefaultScreen(x).Root
	texture, err := xproto.NewPixmapId(x)
	testkit.Must(t, err)
	gc, err := xproto.NewGcontextId(x)
	testkit.Must(t, err)
	const width = 2 * pictureWidth
	testkit.Must(t, xproto.CreatePixmapChecked(x, 24, texture, xproto.Drawable(root), width, pictureHeight).Check())
	testkit.Must(t, xproto.CreateGCChecked(x, gc, xproto.Drawable(root), 0, nil).Check())
	const rows = 16 // of one request, which has at most 256 KiB
	row := make([]byte, width*rows*4)
	random := rand.New(rand.NewPCG(1, 2))
	for y := 0; y < pictureHeight; y += rows {
		for i := 0; i < width*rows; i += 4 {
			v := byte(random.Uint32())
			for j := range 4 {
				copy(row[4*(i+j):], []byte{v, v ^ byte(y), byte(i), 0})
			}
		}
		testkit.Must(t, xproto.PutImageChecked(x, xproto.ImageFormatZPixmap, xproto.Drawable(texture), gc, width, rows, 0, int16(y), 0, 24, row).Check())
	}
	stop := make(chan struct{})
	var painting sync.WaitGroup
	painting.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(p.fps))
		defer tick.Stop()
		for i := 0; ; i++ {
			if p.corner {
				xproto.CopyArea(x, xproto.Drawable(texture), xproto.Drawable(root), gc, int16(i*7%pictureWidth), 0, 0, 0, 64, 64)
			} else {
				xproto.CopyArea(x, xproto.Drawable(texture), xproto.Drawable(root), gc, int16(i*7%pictureWidth), 0, 0, 0, pictureWidth, pictureHeight)
			}
			x.Sync()
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		painting.Wait()
		x.Close()
	})
	return display
}

// A node that has too little CPU for the full frame rate sends fewer pictures, but not
// less: waiting for a processor does not make motion coarse.
func TestFewPicturesUseTheBitrate(t *testing.T) {
	display := painter(t, painting{fps: 10})
	var bytes atomic.Int64
	p, err := capture.Start(t.Context(), capture.Config{Dial: x11.Local(display), Width: pictureWidth, Height: pictureHeight, FPS: 30,
		Codec: capture.H264, Encoder: "auto", BitrateBPS: ceiling, OnFrame: func(f capture.Frame) { bytes.Add(int64(len(f.Data))) }})
	testkit.Must(t, err)
	defer p.Close()
	var best float64
	testkit.UntilSeen(t, "a third of the frame rate uses half of the bitrate", func() (any, bool) {
		begin, before := time.Now(), bytes.Load()
		<-time.After(time.Second)
		best = max(best, 8*float64(bytes.Load()-before)/time.Since(begin).Seconds()/ceiling)
		return best, best > 0.5
	})
	t.Logf("%.0f %%", 100*best)
}
