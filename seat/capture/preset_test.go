package capture

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/scene"
	"github.com/nearcast/nearcast/internal/testkit/ssim"
)

// pane shows pictures on a display.
type pane struct {
	x       *xgb.Conn
	root    xproto.Drawable
	back    xproto.Drawable
	gc      xproto.Gcontext
	picture []byte
}

func openPane(t testing.TB, display string) *pane {
	t.Helper()
	x, err := xgb.NewConnDisplay(display)
	testkit.Must(t, err)
	t.Cleanup(x.Close)
	p := &pane{x: x, root: xproto.Drawable(xproto.Setup(x).DefaultScreen(x).Root), picture: make([]byte, 4*qualityWidth*qualityHeight)}
	back, err := xproto.NewPixmapId(x)
	testkit.Must(t, err)
	testkit.Must(t, xproto.CreatePixmapChecked(x, 24, back, p.root, qualityWidth, qualityHeight).Check())
	p.back = xproto.Drawable(back)
	p.gc, err = xproto.NewGcontextId(x)
	testkit.Must(t, err)
	testkit.Must(t, xproto.CreateGCChecked(x, p.gc, p.root, 0, nil).Check())
	return p
}

// show shows p.picture, all of it at once, and returns after the server has it.
func (p *pane) show() {
	const rows = 48 // of one request, which has at most 256 KiB
	for y := 0; y < qualityHeight; y += rows {
		xproto.PutImage(p.x, xproto.ImageFormatZPixmap, p.back, p.gc, qualityWidth, rows, 0, int16(y), 0, 24, p.picture[4*y*qualityWidth:][:4*rows*qualityWidth])
	}
	xproto.CopyArea(p.x, p.back, p.root, p.gc, 0, 0, 0, 0, qualityWidth, qualityHeight)
	p.x.Sync()
}

// A page of text that scrolled is sharp a second after it stands still, at 2 Mbit/s and
// with the least work. Frames are counted and not the time: on a busy machine they come
// later.
func TestStillTextIsSharp(t *testing.T) {
	display, _ := xvfb(t)
	frames := make(chan Frame, 1000)
	cfg := config(display, func(f Frame) { frames <- f })
	least := ultrafast
	cfg.BitrateBPS, cfg.preset = 2_000_000, &least
	p, err := Start(t.Context(), cfg)
	testkit.Must(t, err)
	defer p.Close()
	if p.Encoder() != "x264enc" {
		t.Skip("x264 does not work here, or is not the first choice")
	}
	text, err := scene.NewText(qualityWidth, qualityHeight)
	testkit.Must(t, err)
	shows := openPane(t, display)
	var packets [][]byte
	for n := 0; len(packets) < 90; n++ {
		text.Draw(shows.picture, 6*n)
		shows.show()
		packets = append(packets, next(t, frames, "frame", anyFrame).Data)
	}
	stands := time.Now()
	var last Frame
	for still := 0; still < cfg.FPS; {
		f := next(t, frames, "frame of the still picture", anyFrame)
		packets = append(packets, f.Data)
		if f.Captured.After(stands) {
			still++
		}
		if still > refinements && f.Captured.Sub(last.Captured) > heartbeat/2 {
			break // nothing is left to be made better
		}
		last = f
	}
	decoded := decodeLuma(t, decodeH264, packets, qualityWidth, qualityHeight)
	if len(decoded) < len(packets)-1 {
		t.Fatalf("%d of %d frames decode", len(decoded), len(packets))
	}
	shown := luma(shows.picture, qualityWidth, qualityHeight)
	like := func(n int) float64 {
		return ssim.Luma(shown, decoded[n], qualityWidth, qualityWidth, qualityHeight)
	}
	got := like(len(decoded) - 1)
	t.Logf("similarity %.4f after %d frames", got, len(decoded))
	if got < 0.99 {
		t.Errorf("after a second of %d frames the text is %.4f similar to what the display shows, want 0.99", cfg.FPS, got)
	}
}

// The stream goes on at another preset: each picture is there, and a decoder needs no
// more than the stream.
func TestPresetChangesInTheStream(t *testing.T) {
	display, _ := xvfb(t)
	frames := make(chan Frame, 1000)
	cfg := config(display, func(f Frame) { frames <- f })
	p := start(t, cfg)
	if p.Preset() == "" {
		t.Skip("x264 does not work here, or is not the first choice")
	}
	shows := openPane(t, display)
	var packets, shown [][]byte
	var keys []Frame
	text, err := scene.NewText(qualityWidth, qualityHeight)
	testkit.Must(t, err)
	turn := 0
	picture := func() {
		if turn++; turn%25 == 0 { // a cut, more than a second after a keyframe: x264 would make one
			text.Draw(shows.picture, 0)
		} else {
			scene.Road(shows.picture, qualityWidth, qualityHeight, len(packets))
		}
		shows.show()
		painted := time.Now()
		// The time of a frame is that after it was read: the first one may still show the
		// picture before.
		for after := 0; after < 2; {
			f := next(t, frames, "frame", anyFrame)
			packets, shown = append(packets, f.Data), append(shown, nil)
			if f.Keyframe {
				keys = append(keys, f)
			}
			if f.Captured.After(painted) {
				after++
			}
		}
		shown[len(shown)-1] = luma(shows.picture, qualityWidth, qualityHeight)
	}
	for range 3 {
		picture()
	}
	for n, to := range []preset{veryfast, ultrafast, superfast} {
		p.working.pinned.Store(int32(to))
		for range []int{26, 4, 4}[n] {
			picture()
			if p.Preset() != to.String() {
				t.Fatalf("it works at %s, want %v", p.Preset(), to)
			}
		}
	}
	if len(keys) != 4 {
		t.Errorf("%d keyframes, want the first one and one for each change", len(keys))
	}
	for n, f := range keys {
		if types := nalTypes(f.Data); !slices.Contains(types, 7) || !slices.Contains(types, 8) || !slices.Contains(types, 5) {
			t.Errorf("keyframe %d has the NAL units %v", n, types)
		}
	}
	decoded := decodeLuma(t, decodeH264, packets, qualityWidth, qualityHeight)
	if len(decoded) < len(packets)-1 {
		t.Fatalf("%d of %d frames decode", len(decoded), len(packets))
	}
	before := make([]byte, qualityWidth*qualityHeight)
	for n := range decoded {
		if shown[n] == nil {
			continue
		}
		// An encoder that waits long for a processor may still give the picture before.
		got := max(ssim.Luma(shown[n], decoded[n], qualityWidth, qualityWidth, qualityHeight),
			ssim.Luma(before, decoded[n], qualityWidth, qualityWidth, qualityHeight))
		if before = shown[n]; got < 0.6 {
			t.Errorf("frame %d of %d is %.2f similar to what the display showed", n, len(decoded), got)
		}
	}
}

// What the node says reaches the encoder: with no processor left it works less.
func TestPresetFollowsTheNode(t *testing.T) {
	display, _ := xvfb(t)
	frames := make(chan Frame, 1000)
	cfg := config(display, func(f Frame) { frames <- f })
	cfg.FPS = 5 // a busy machine keeps up
	var busy atomic.Bool
	cfg.left = func(time.Time) (float64, bool) {
		if busy.Load() {
			return 0, true
		}
		return 8, true
	}
	p := start(t, cfg)
	if p.Preset() == "" {
		t.Skip("x264 does not work here, or is not the first choice")
	}
	if p.Preset() != veryfast.String() {
		t.Fatalf("it starts at %s on a free node", p.Preset())
	}
	busy.Store(true)
	painter := paint(t, display)
	testkit.Until(t, "the least work on a busy node", func() bool {
		painter.fill(t, uint32(time.Now().UnixNano()), 0, 0, 1280, 720)
		return p.Preset() == ultrafast.String()
	})
	flush(frames)
	p.Keyframe()
	next(t, frames, "keyframe", keyframe)
}

// A page of text that comes at once becomes sharp, and stays so on a node that becomes busy: another preset would begin
// with a keyframe, which makes it coarse. A single change does not bring one either.
func TestStillTextStaysSharp(t *testing.T) {
	display, _ := xvfb(t)
	frames := make(chan Frame, 1000)
	var looks atomic.Int32 // at a busy node
	cfg := config(display, func(f Frame) { frames <- f })
	cfg.BitrateBPS = 2_000_000
	cfg.left = func(time.Time) (float64, bool) {
		if looks.Load() == 0 {
			return 8, true
		}
		looks.Add(1)
		return 0, true
	}
	text, err := scene.NewText(qualityWidth, qualityHeight)
	testkit.Must(t, err)
	shows := openPane(t, display)
	text.Draw(shows.picture, 0)
	shows.show()
	p := start(t, cfg)
	if p.Preset() == "" {
		t.Skip("x264 does not work here, or is not the first choice")
	}
	before := p.Preset()
	if before == ultrafast.String() {
		t.Fatalf("it works at %s on a free node", before)
	}
	var packets [][]byte
	var at time.Time
	frame := func(what string) Frame {
		f := next(t, frames, what, anyFrame)
		packets = append(packets, f.Data)
		return f
	}
	for pauses := 0; pauses < 2; { // one may be of a busy machine
		f := frame("frame of the still picture")
		if pauses++; len(packets) == 1 || f.Captured.Sub(at) < heartbeat/2 {
			pauses = 0
		}
		at = f.Captured
	}
	sharp := len(packets) - 1
	looks.Store(1)
	for looks.Load() < overLooks+3 { // one look at each heartbeat
		if frame("heartbeat").Keyframe {
			t.Error("a keyframe in a picture that stands still")
		}
	}
	last := len(packets) - 1
	paint(t, display).fill(t, 0xc06020, 0, 0, 200, 200)
	for filled, f := time.Now(), (Frame{}); f.Captured.Before(filled); {
		if f = frame("frame of a change"); f.Keyframe || p.Preset() != before {
			t.Fatalf("a single change works at %s (keyframe %v), before %s", p.Preset(), f.Keyframe, before)
		}
	}
	decoded := decodeLuma(t, decodeH264, packets, qualityWidth, qualityHeight)
	if len(decoded) <= last {
		t.Fatalf("%d of %d frames decode", len(decoded), len(packets))
	}
	shown := luma(shows.picture, qualityWidth, qualityHeight)
	like := func(n int) float64 {
		return ssim.Luma(shown, decoded[n], qualityWidth, qualityWidth, qualityHeight)
	}
	t.Logf("similarity %.4f on a free node, then %.4f", like(sharp), like(last))
	if like(sharp) < 0.99 || like(last) < 0.99 {
		t.Errorf("the text is %.4f similar to what the display shows, then %.4f, want 0.99", like(sharp), like(last))
	}
}

// profileOf is the profile that a keyframe says that it has: 66 is Baseline, 77 Main.
func profileOf(t *testing.T, f Frame) byte {
	t.Helper()
	at := bytes.Index(f.Data, []byte{0, 0, 1, 0x67})
	if at < 0 || at+4 >= len(f.Data) {
		t.Fatalf("a keyframe of %d bytes has no parameters", len(f.Data))
	}
	return f.Data[at+4]
}

// The profile is the one that the browser takes from the next keyframe on, and not before:
// with each preset, and each picture decodes.
func TestProfileFollowsTheBrowser(t *testing.T) {
	for pinned := range presets {
		t.Run(pinned.String(), func(t *testing.T) {
			display, _ := xvfb(t)
			painter := paint(t, display)
			frames := make(chan Frame, 1000)
			cfg := config(display, func(f Frame) { frames <- f })
			cfg.preset, cfg.Main = &pinned, true
			p := start(t, cfg)
			if p.Encoder() != "x264enc" {
				t.Skip("x264 does not work here, or is not the first choice")
			}
			var packets [][]byte
			take := func(ok func(Frame) bool) Frame {
				return next(t, frames, "frame", func(f Frame) bool {
					packets = append(packets, f.Data)
					return ok(f)
				})
			}
			if got := profileOf(t, take(keyframe)); got != 77 {
				t.Errorf("the first keyframe has profile %d", got)
			}
			for _, c := range []struct {
				main bool
				want byte
			}{{false, 66}, {true, 77}, {true, 77}, {false, 66}} {
				p.SetMain(c.main)
				painter.fill(t, uint32(len(packets)*0x13579b), 0, 0, 640, 360)
				if f := take(anyFrame); f.Keyframe {
					t.Error("another profile made a keyframe")
				}
				p.Keyframe()
				if got := profileOf(t, take(keyframe)); got != c.want {
					t.Errorf("with main %v the keyframe has profile %d", c.main, got)
				}
			}
			p.Close()
			if decoded := decodeLuma(t, decodeH264, packets, qualityWidth, qualityHeight); len(decoded) < len(packets)-1 {
				t.Errorf("of %d pictures %d were decoded", len(packets), len(decoded))
			}
		})
	}
}
