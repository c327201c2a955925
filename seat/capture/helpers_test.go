package capture

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// needs skips a test if a program is missing.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// asUser is the user that runs the next spawned program; nil is this user.
var asUser *syscall.Credential

// spawn starts a program that ends with the test.
func spawn(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: asUser}
	testkit.Start(t, cmd)
}

// xvfb starts a display and returns its name.
func xvfb(t testing.TB, args ...string) (display string, server *exec.Cmd) {
	t.Helper()
	return testkit.Xvfb(t, asUser, args...)
}

// painter draws on a display's root window.
type painter struct {
	x  *xclient
	gc uint32
}

func paint(t testing.TB, display string) *painter {
	t.Helper()
	return paintWith(t, x11.Local(display), x11.Cookie{})
}

func paintWith(t testing.TB, dial x11.Dialer, cookie x11.Cookie) *painter {
	t.Helper()
	x, err := dialX(dial, cookie, func([]byte) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.close)
	p := &painter{x: x, gc: x.newID()}
	if _, err := x.send(xrequest(55, 0, p.gc, x.setup.Root, 0)); err != nil { // CreateGC
		t.Fatal(err)
	}
	return p
}

// fill paints a rectangle, and returns after the server has done it.
func (p *painter) fill(t testing.TB, color uint32, x, y, width, height int) {
	t.Helper()
	const foreground = 1 << 2
	rect := xrequest(70, 0, p.x.setup.Root, p.gc, uint32(x)|uint32(y)<<16, uint32(width)|uint32(height)<<16)
	seq, err := p.x.send(xrequest(56, 0, p.gc, foreground, color), rect, xSync())
	if err == nil {
		_, err = p.x.wait(seq)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// warp moves the pointer.
func (p *painter) warp(t testing.TB, x, y int) {
	t.Helper()
	seq, err := p.x.send(xrequest(41, 0, 0, p.x.setup.Root, 0, 0, uint32(x)|uint32(y)<<16), xSync())
	if err == nil {
		_, err = p.x.wait(seq)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func config(display string, onFrame func(Frame)) Config {
	return Config{Dial: x11.Local(display), Width: 1280, Height: 720, FPS: 30, Codec: H264, Encoder: "auto",
		BitrateBPS: 8_000_000, OnFrame: onFrame}
}

func start(t testing.TB, cfg Config) *Pipeline {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p, err := Start(ctx, cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// next waits for a frame that satisfies ok.
func next(t testing.TB, frames <-chan Frame, what string, ok func(Frame) bool) Frame {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case f := <-frames:
			if ok(f) {
				return f
			}
		case <-timeout:
			t.Fatalf("no %s", what)
		}
	}
}

func anyFrame(Frame) bool   { return true }
func keyframe(f Frame) bool { return f.Keyframe }

// nalTypes lists the NAL unit types of an access unit in Annex B.
func nalTypes(data []byte) (types []int) {
	for i := 0; i+3 < len(data); i++ {
		if data[i] == 0 && data[i+1] == 0 && data[i+2] == 1 {
			types = append(types, int(data[i+3]&31))
		}
	}
	return types
}
