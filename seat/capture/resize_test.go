package capture

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// randr changes the screen as xrandr does.
type randr struct {
	*painter
	ext         xextension
	crtc, stamp uint32
}

func openRandR(t *testing.T, display string) *randr {
	t.Helper()
	p := paint(t, display)
	ext, ok, err := p.x.extension("RANDR")
	testkit.Must(t, err)
	if !ok {
		t.Fatal("Xvfb has no RANDR")
	}
	res, err := p.x.call(xquestion(1<<16, ext.opcode, 25, p.x.setup.Root)) // GetScreenResourcesCurrent
	testkit.Must(t, err)
	return &randr{p, ext, binary.LittleEndian.Uint32(res[32:]), binary.LittleEndian.Uint32(res[12:])}
}

// fb is "xrandr --fb": the screen gets a size, without a monitor.
func (r *randr) fb(t *testing.T, width, height int) {
	t.Helper()
	off := xquestion(0, r.ext.opcode, 21, r.crtc, 0, r.stamp, 0, 0, 1) // SetCrtcConfig
	size := xrequest(r.ext.opcode, 7, r.x.setup.Root, uint32(width)|uint32(height)<<16, 100, 100)
	seq, err := r.x.send(off, size, xSync())
	if err == nil {
		_, err = r.x.wait(seq)
	}
	testkit.Must(t, err)
}

// sizeOf is the size that a keyframe of VP8 has.
func sizeOf(f Frame) string {
	if !f.Keyframe || len(f.Data) < 10 {
		return ""
	}
	return fmt.Sprintf("%dx%d", binary.LittleEndian.Uint16(f.Data[6:])&0x3fff, binary.LittleEndian.Uint16(f.Data[8:])&0x3fff)
}

func TestStreamFollowsTheScreen(t *testing.T) {
	name, _ := xvfb(t)
	r := openRandR(t, name)
	frames := make(chan Frame, 1000)
	cfg := config(name, func(f Frame) { frames <- f })
	cfg.Codec = VP8
	p := start(t, cfg)
	is := func(size string) func(Frame) bool { return func(f Frame) bool { return sizeOf(f) == size } }
	next(t, frames, "first picture", is("1280x720"))
	for _, c := range []struct {
		width, height int
		want          string
	}{
		{640, 360, "640x360"}, {321, 181, "320x180"}, {1280, 720, "1280x720"}, {16, 720, "16x720"}, {1280, 720, "1280x720"},
	} {
		r.fb(t, c.width, c.height)
		next(t, frames, "picture of "+c.want, is(c.want))
		r.fill(t, 0xffffff, 0, 0, 8, 8)
		next(t, frames, "next picture", anyFrame)
	}
	// Of a screen that is too small there is no picture, and no end either.
	r.fb(t, 8, 8)
	r.fill(t, 0, 0, 0, 8, 8)
	r.fb(t, 1280, 720)
	p.Keyframe()
	next(t, frames, "picture after a tiny screen", is("1280x720"))
	// A part of the screen.
	p.Crop(800, 600)
	next(t, frames, "picture of a part", is("800x600"))
	p.Crop(1280, 720)
	next(t, frames, "picture of all", is("1280x720"))
	if err := p.Err(); err != nil {
		t.Error(err)
	}
}

// A screen that is larger than the most that was expected is seen in part, with the
// memory that there is.
func TestStreamOfALargerScreen(t *testing.T) {
	name, _ := xvfb(t)
	r := openRandR(t, name)
	r.fb(t, 640, 360)
	frames := make(chan Frame, 1000)
	cfg := config(name, func(f Frame) { frames <- f })
	cfg.Codec, cfg.Width, cfg.Height, cfg.MaxWidth, cfg.MaxHeight = VP8, 640, 360, 800, 600
	start(t, cfg)
	next(t, frames, "first picture", func(f Frame) bool { return sizeOf(f) == "640x360" })
	r.fb(t, 1280, 720)
	next(t, frames, "picture of a part", func(f Frame) bool { return sizeOf(f) == "800x600" })
}

func TestPlainPicture(t *testing.T) {
	name, _ := xvfb(t)
	r := paint(t, name)
	frames := make(chan Frame, 1000)
	p := start(t, config(name, func(f Frame) { frames <- f }))
	next(t, frames, "first picture", anyFrame)
	if !p.Plain() {
		t.Error("a black screen is not of one colour")
	}
	r.fill(t, 0x808080, 0, 0, 1280, 720)
	r.fill(t, 0xffffff, 600, 300, 100, 100)
	testkit.Until(t, "a picture of two colours", func() bool { return !p.Plain() })
	r.fill(t, 0x808080, 0, 0, 1280, 720)
	testkit.Until(t, "a grey picture", p.Plain)
}

// A server that says that its screen is huge gets no more memory.
func TestHugeScreen(t *testing.T) {
	cfg := hostile(t, func(q testkit.XRequest) []byte {
		if q.Is(14, 0) { // GetGeometry
			return q.Reply(24, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)
		}
		return q.Honest()
	})
	s, err := openScreen(t.Context(), cfg, cfg.Log)
	testkit.Must(t, err)
	defer s.close()
	s.sizeStale.Store(true)
	testkit.Must(t, s.measure())
	if s.rootWidth != hostileWidth || s.rootHeight != hostileHeight || len(s.shm) != 0 && len(s.shm) < s.stride*s.rootHeight {
		t.Errorf("the screen counts as %dx%d, with %d bytes", s.rootWidth, s.rootHeight, len(s.shm))
	}
	if _, err := s.grab(); err != nil {
		t.Error(err)
	}
}
