package capture

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// collect returns a channel of frames, and the callback that fills it.
func collect() (chan Frame, func(Frame)) {
	frames := make(chan Frame, 1000)
	return frames, func(f Frame) {
		select {
		case frames <- f:
		default:
		}
	}
}

// flush discards the frames so far.
func flush(frames chan Frame) {
	for len(frames) > 0 {
		<-frames
	}
}

// quiet waits until no frame came for some time: the picture is still.
func quiet(t *testing.T, frames chan Frame) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		select {
		case <-frames:
		case <-time.After(400 * time.Millisecond):
			return
		case <-deadline:
			t.Fatal("the frames of a still picture do not end")
		}
	}
}

// decode decodes each frame into a BGRx picture.
func decode(t *testing.T, element, caps string, packets [][]byte) [][]byte {
	t.Helper()
	pictures := make(chan []byte, len(packets)+1)
	s, err := openStream("appsrc name=source format=time caps="+caps+" ! "+element+
		" ! videoconvert ! video/x-raw,format=BGRx", func(data []byte, _ flagsType, _, _ time.Duration) {
		select {
		case pictures <- data:
		default:
		}
	})
	if err != nil {
		t.Skipf("cannot decode here: %v", err)
	}
	defer s.close()
	pushAll(t, s, packets)
	var out [][]byte
	for range packets {
		select {
		case p := <-pictures:
			out = append(out, p)
		case <-s.failed:
			t.Fatal(s.failure())
		case <-time.After(60 * time.Second):
			return out // a decoder may keep the last picture
		}
	}
	return out
}

const h264In = "video/x-h264,stream-format=byte-stream,alignment=au"

func TestEncodersGiveThePicture(t *testing.T) {
	facts, err := Fingerprint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", facts)
	if len(facts.Encoders) == 0 {
		t.Skip("no encoder works here")
	}
	for _, name := range facts.Encoders {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			display, _ := xvfb(t)
			frames, onFrame := collect()
			cfg := config(display, onFrame)
			cfg.Encoder = name
			decoder, caps := "h264parse ! openh264dec", h264In
			if cfg.Codec = codecOf(name); cfg.Codec == VP8 {
				decoder, caps = "vp8dec", "video/x-vp8"
			}
			p := start(t, cfg)
			if p.Encoder() != name {
				t.Errorf("encoder is %s", p.Encoder())
			}
			f := next(t, frames, "first frame", anyFrame)
			if !f.Keyframe {
				t.Error("the first frame is no keyframe")
			}
			if types := nalTypes(f.Data); cfg.Codec == H264 && (!slices.Contains(types, 7) || !slices.Contains(types, 8) || !slices.Contains(types, 5)) {
				t.Errorf("the keyframe has the NAL units %v", types)
			}
			paint(t, display).fill(t, 0x2060c0, 0, 0, 1280, 720)
			p.Keyframe()
			quiet(t, frames)
			flush(frames)
			p.Keyframe()
			packets := [][]byte{next(t, frames, "keyframe", keyframe).Data}
			packets = append(packets, next(t, frames, "frame", anyFrame).Data, next(t, frames, "frame", anyFrame).Data)
			pictures := decode(t, decoder, caps, packets)
			if len(pictures) == 0 {
				t.Fatal("nothing decodes")
			}
			// Far from the pointer, which is in the middle.
			b := pictures[len(pictures)-1][4*(100*1280+100):]
			for i, want := range []int{0xc0, 0x60, 0x20} {
				if d := int(b[i]) - want; d < -6 || d > 6 {
					t.Errorf("the picture has %v, want 2060c0 (red, green, blue)", b[:3])
					break
				}
			}
			if err := p.Close(); err != nil || p.Err() != nil {
				t.Errorf("Close: %v, Err: %v", err, p.Err())
			}
		})
	}
}

func codecOf(element string) string {
	for _, e := range encoders {
		if e.element == element {
			return e.codec
		}
	}
	return ""
}

func TestStillPictureCostsNothingAndChangeComesAtOnce(t *testing.T) {
	display, _ := xvfb(t)
	frames, onFrame := collect()
	p := start(t, config(display, onFrame))
	painter := paint(t, display)
	quiet(t, frames)
	painter.fill(t, 0xff0000, 0, 0, 400, 400)
	painted := time.Now()
	f := next(t, frames, "frame of the change", anyFrame)
	if took := time.Since(painted); took > 5*time.Second {
		t.Errorf("the change came after %v", took)
	}
	if f.Keyframe {
		t.Error("a change makes a keyframe")
	}
	quiet(t, frames)
	painter.warp(t, 300, 300)
	next(t, frames, "frame of the pointer's motion", anyFrame)
	quiet(t, frames)
	p.SetBitrate(1_000_000)
	p.Keyframe()
	if !next(t, frames, "keyframe", anyFrame).Keyframe {
		t.Error("Keyframe makes none")
	}
}

func TestRateIsBounded(t *testing.T) {
	display, _ := xvfb(t)
	frames, onFrame := collect()
	start(t, config(display, onFrame))
	painter := paint(t, display)
	quiet(t, frames)
	begin := time.Now()
	for i := 0; time.Since(begin) < time.Second; i++ {
		painter.fill(t, uint32(i), 0, 0, 64, 64)
	}
	// The least number depends on the machine; the benchmark measures it.
	if n := len(frames); n == 0 || n > 33 {
		t.Errorf("%d frames in a second at 30 a second", n)
	}
	var last Frame
	for len(frames) > 0 {
		f := <-frames
		if f.PTS <= last.PTS {
			t.Fatalf("PTS %v follows %v", f.PTS, last.PTS)
		}
		last = f
	}
}

func TestPauseAndResume(t *testing.T) {
	display, _ := xvfb(t)
	frames, onFrame := collect()
	p := start(t, config(display, onFrame))
	painter := paint(t, display)
	for round := range 3 {
		p.Pause()
		// One frame may still be in the encoder.
		<-time.After(100 * time.Millisecond)
		flush(frames)
		painter.fill(t, uint32(round), 0, 0, 100, 100)
		p.Keyframe()
		select {
		case <-frames:
			t.Fatal("a paused pipeline gives a frame")
		case <-time.After(150 * time.Millisecond):
		}
		p.Resume()
		if f := next(t, frames, "frame after Resume", anyFrame); !f.Keyframe {
			t.Error("the first frame after Resume is no keyframe")
		}
		quiet(t, frames)
	}
}

func TestDisplayDies(t *testing.T) {
	display, server := xvfb(t)
	p := start(t, config(display, func(Frame) {}))
	server.Process.Kill()
	select {
	case <-p.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the pipeline did not end")
	}
	if p.Err() == nil {
		t.Error("no error")
	}
	p.Resume() // does nothing
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestContextEndsThePipeline(t *testing.T) {
	display, _ := xvfb(t)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, config(display, func(Frame) {}))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-p.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the pipeline did not end")
	}
	if p.Err() != nil {
		t.Error(p.Err())
	}
}

func TestBadConfig(t *testing.T) {
	display, _ := xvfb(t)
	for name, change := range map[string]func(*Config){
		"size":    func(c *Config) { c.Width = 1920 },
		"no size": func(c *Config) { c.Width = 0 },
		"rate":    func(c *Config) { c.FPS = 0 },
		"codec":   func(c *Config) { c.Codec = "av1" },
		"encoder": func(c *Config) { c.Encoder = "theoraenc" },
		"mixed":   func(c *Config) { c.Encoder = "vp8enc" },
		"bitrate": func(c *Config) { c.BitrateBPS = 1 },
		"display": func(c *Config) { c.Dial = x11.Local(":59999") },
		"remote":  func(c *Config) { c.Dial = x11.Local("example.org:1") },
		"nothing": func(c *Config) { c.Dial = nil },
	} {
		cfg := config(display, func(Frame) {})
		change(&cfg)
		if p, err := Start(t.Context(), cfg); err == nil {
			p.Close()
			t.Errorf("%s: no error", name)
		}
	}
	cfg := config(display, func(Frame) {})
	cfg.Encoder = "nvh264enc"
	if p, err := Start(t.Context(), cfg); err == nil {
		p.Close() // there is such a GPU
	} else if !errors.Is(err, errNoEncoder) {
		t.Errorf("missing encoder: %v", err)
	}
}

// The server may be of another user: the memory comes by its descriptor.
func TestDisplayWithCookieAndOtherUser(t *testing.T) {
	dir, cookie := t.TempDir(), x11.NewCookie()
	file := filepath.Join(dir, "auth")
	testkit.Must(t, os.WriteFile(file, x11.Authority(cookie), 0o644))
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	display, _ := xvfbAs(t, "-auth", file)
	frames, onFrame := collect()
	var log strings.Builder
	cfg := config(display, onFrame)
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	for name, bad := range map[string]x11.Cookie{"no": {}, "a wrong": x11.NewCookie()} {
		cfg.Cookie = bad
		// Xvfb admits root without a cookie only if it runs as root itself.
		if p, err := Start(t.Context(), cfg); err == nil {
			p.Close()
			t.Errorf("%s cookie was accepted", name)
		}
	}
	cfg.Cookie = cookie
	start(t, cfg)
	next(t, frames, "frame", anyFrame)
	if strings.Contains(log.String(), "shared memory") {
		t.Errorf("no shared memory with a server of another user: %s", log.String())
	}
}

// xvfbAs starts a display as another user, if this one is root.
func xvfbAs(t *testing.T, args ...string) (string, *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return xvfb(t, args...)
	}
	asUser = &syscall.Credential{Uid: 65534, Gid: 65534}
	defer func() { asUser = nil }()
	return xvfb(t, args...)
}

func TestWithoutSharedMemory(t *testing.T) {
	display, _ := xvfb(t, "-extension", "MIT-SHM")
	frames, onFrame := collect()
	cfg := config(display, onFrame)
	cfg.Log = slog.New(slog.DiscardHandler)
	start(t, cfg)
	next(t, frames, "frame", anyFrame)
	paint(t, display).fill(t, 1, 0, 0, 50, 50)
	next(t, frames, "frame", anyFrame)
}

func TestConvert(t *testing.T) {
	for _, size := range [][2]int{{16, 2}, {1280, 720}, {50, 4}, {2, 2}, {34, 6}} {
		plain, vector := convertBoth(size[0], size[1])
		if !slices.Equal(plain, vector) {
			t.Errorf("%v: the vector conversion differs from the plain one", size)
		}
	}
	for _, c := range []struct{ bgr, yuv [3]byte }{
		{[3]byte{255, 255, 255}, [3]byte{235, 128, 128}},
		{[3]byte{0, 0, 0}, [3]byte{16, 128, 128}},
		{[3]byte{0, 0, 255}, [3]byte{63, 103, 240}}, // red
	} {
		got := convertColor(c.bgr)
		for i := range got {
			if d := int(got[i]) - int(c.yuv[i]); d < -1 || d > 1 {
				t.Errorf("%v became %v, not %v", c.bgr, got, c.yuv)
				break
			}
		}
	}
}

func TestCursorIsBlended(t *testing.T) {
	picture := make([]byte, 4*8*8)
	c := cursorImage{width: 2, height: 2, hotX: 1, hotY: 1, argb: []byte{
		1, 2, 3, 255, 0, 0, 0, 0,
		100, 100, 100, 128, 9, 9, 9, 255,
	}}
	for _, at := range [][2]int{{0, 0}, {8, 8}, {-5, -5}, {20, 3}, {4, 4}} {
		c.blend(picture, 32, 8, 8, at[0], at[1]) // never out of bounds
	}
	if got := picture[3*32+3*4:][:3]; !slices.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("opaque pixel is %v", got)
	}
	if got := picture[3*32+4*4:][:3]; !slices.Equal(got, []byte{0, 0, 0}) {
		t.Errorf("transparent pixel is %v", got)
	}
	if got := picture[4*32+3*4:][:3]; !slices.Equal(got, []byte{100, 100, 100}) {
		t.Errorf("half transparent pixel is %v", got)
	}
}

// A paused pipeline knows whether the picture changes.
func TestStirred(t *testing.T) {
	display, _ := xvfb(t)
	paints := paint(t, display)
	_, onFrame := collect()
	p := start(t, config(display, onFrame))
	p.Pause()
	p.Stirred()
	still := func() bool {
		deadline := time.After(60 * time.Second)
		for n := 0; n < 5; {
			select {
			case <-deadline:
				return false
			case <-time.After(20 * time.Millisecond):
			}
			if n++; p.Stirred() {
				n = 0
			}
		}
		return true
	}
	for color := range uint32(3) {
		if !still() {
			t.Fatal("a still picture counts as changed")
		}
		paints.fill(t, 0x101010*(color+1), 10, 10, 100, 100)
		testkit.Until(t, "a change is noticed", p.Stirred)
	}
}
