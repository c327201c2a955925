package capture

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestStill looks at a real display: a still has its colours where they are, is small enough, and takes
// no frame from the stream. A picture that does not change has one, too.
func TestStill(t *testing.T) {
	display, _ := xvfb(t)
	p := paint(t, display)
	p.fill(t, 0xc02040, 0, 0, 640, 720)
	p.fill(t, 0x2040c0, 640, 0, 640, 720)
	frames := make(chan Frame, 1000)
	v := start(t, config(display, func(f Frame) { frames <- f }))
	look := func() (left, right [3]uint8) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		picture, at, err := v.Still(ctx, 640)
		if err != nil {
			t.Fatal(err)
		}
		if size := picture.Rect.Size(); size.X != 640 || size.Y != 360 || at.Before(begin) {
			t.Errorf("%v, captured %v after it was asked for", size, at.Sub(begin))
		}
		l, r := picture.RGBAAt(100, 300), picture.RGBAAt(500, 20)
		return [3]uint8{l.R, l.G, l.B}, [3]uint8{r.R, r.G, r.B}
	}
	want := [2][3]uint8{{0xc0, 0x20, 0x40}, {0x20, 0x40, 0xc0}}
	if left, right := look(); left != want[0] || right != want[1] {
		t.Errorf("it has the colours %x and %x", left, right)
	}
	// The picture after a change.
	p.fill(t, 0x10d020, 0, 0, 640, 720)
	testkit.Until(t, "the change is in a still", func() bool { left, _ := look(); return left == [3]uint8{0x10, 0xd0, 0x20} })

	// A paused pipeline gives none, and the next one who asks is served.
	v.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	testkit.Until(t, "a paused pipeline gives none", func() bool {
		_, _, err := v.Still(ctx, 640)
		return errors.Is(err, context.DeadlineExceeded)
	})
	v.Resume()
	look()
	v.Close()
	if _, _, err := v.Still(t.Context(), 640); err == nil {
		t.Error("a pipeline that has ended gives a still")
	}
}

func TestShrink(t *testing.T) {
	for _, c := range []struct{ width, height, toWidth, toHeight int }{
		{1920, 1080, 640, 360}, {1366, 768, 455, 256}, {640, 480, 640, 480}, {1080, 2340, 270, 585}, {4096, 2160, 585, 308}, {8192, 16, 630, 1}, {16, 16, 16, 16},
	} {
		stride := 4 * (c.width + 2)
		picture := make([]byte, stride*c.height)
		for y := range c.height {
			for x := range c.width {
				at := picture[y*stride+4*x:]
				at[0], at[1], at[2] = 10, 20, 30
				if x >= c.width/2 {
					at[0], at[1], at[2] = 110, 120, 130
				}
			}
		}
		got := shrink(picture, stride, c.width, c.height, 640)
		if size := got.Rect.Size(); size.X != c.toWidth || size.Y != c.toHeight {
			t.Errorf("%d x %d becomes %v, want %d x %d", c.width, c.height, size, c.toWidth, c.toHeight)
		}
		l, r := got.RGBAAt(0, 0), got.RGBAAt(got.Rect.Dx()-1, got.Rect.Dy()-1)
		if l.R != 30 || l.G != 20 || l.B != 10 || l.A != 255 || r.R != 130 || r.G != 120 || r.B != 110 {
			t.Errorf("%d x %d: the corners are %v and %v", c.width, c.height, l, r)
		}
	}
}

// BenchmarkStill is what a still costs the loop that captures: it is done while the encoder works.
func BenchmarkStill(b *testing.B) {
	for _, c := range []struct {
		name          string
		width, height int
	}{{"720p", 1280, 720}, {"1080p", 1920, 1080}, {"2160p", 3840, 2160}} {
		b.Run(c.name, func(b *testing.B) {
			picture := make([]byte, 4*c.width*c.height)
			for b.Loop() {
				shrink(picture, 4*c.width, c.width, c.height, 640)
			}
		})
	}
}
