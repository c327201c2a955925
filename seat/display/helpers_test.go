package display

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

const (
	testWidth  = 640
	testHeight = 360
	// The smallest screen that every server accepts.
	leastWidth, leastHeight = 160, 128
)

var testapp string // path of the built test application

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == "start-and-wait" {
		startAndWait(os.Args[2], os.Args[3])
	}
	testkit.Main(m, &testapp)
}

func within(t testing.TB) context.Context { return testkit.Context(t, time.Minute) }

func start(t *testing.T, server wire.XServer) *Display {
	t.Helper()
	return startSize(t, server, testWidth, testHeight)
}

func startSize(t testing.TB, server wire.XServer, width, height int) *Display {
	t.Helper()
	d, err := Start(within(t), Config{Width: width, Height: height, Server: server, Runner: cell.Local{Dir: t.TempDir()}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// runClient runs a program on the display until the test ends.
func runClient(t *testing.T, d *Display, name string, args ...string) *bufio.Scanner {
	t.Helper()
	cmd := exec.CommandContext(within(t), name, args...)
	cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return bufio.NewScanner(out)
}

// dialApp connects as an application does: by the environment, without a guard.
func dialApp(t *testing.T, d *Display) *xgb.Conn {
	t.Helper()
	t.Setenv("XAUTHORITY", d.Authority())
	conn, err := xgb.NewConnDisplay(d.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

type event struct {
	Type          string
	Width, Height int
}

// next reads events of the test application until one has the type.
func next(t *testing.T, out *bufio.Scanner, what string) event {
	t.Helper()
	for out.Scan() {
		var e event
		if err := json.Unmarshal(out.Bytes(), &e); err != nil {
			t.Fatalf("line %q: %v", out.Text(), err)
		}
		if e.Type == what {
			return e
		}
	}
	t.Fatalf("the application ended without %q", what)
	return event{}
}

// press clicks in the middle of the screen by XTEST.
func press(t *testing.T, d *Display) {
	t.Helper()
	cmd := exec.CommandContext(within(t), "xdotool", "mousemove", "320", "180", "click", "1")
	cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		t.Skip("xdotool is not installed")
	} else if err != nil {
		t.Fatalf("xdotool: %v: %s", err, out)
	}
}

func bright(img image.Image, x, y int) bool {
	r, g, b, _ := img.At(x, y).RGBA()
	return r+g+b > 3*0xf000
}

func waitPicture(t *testing.T, d *Display, what string, ok func(image.Image) bool) {
	t.Helper()
	testkit.Until(t, what, func() bool {
		return ok(screenshot(t, d))
	})
}

// screenshot is the picture on the screen now.
func screenshot(t *testing.T, d *Display) image.Image {
	t.Helper()
	conn := dialApp(t, d)
	defer conn.Close()
	r, err := xproto.GetImage(conn, xproto.ImageFormatZPixmap, xproto.Drawable(d.wm.root),
		0, 0, d.wm.width, d.wm.height, 0xffffffff).Reply()
	if err != nil {
		t.Fatalf("get image: %v", err)
	}
	img := image.NewRGBA(image.Rect(0, 0, int(d.wm.width), int(d.wm.height)))
	if len(r.Data) < len(img.Pix) {
		t.Fatalf("get image: %d bytes for %v", len(r.Data), img.Rect)
	}
	for i := 0; i < len(img.Pix); i += 4 {
		img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = r.Data[i+2], r.Data[i+1], r.Data[i], 0xff
	}
	return img
}

func le32(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

// zombie reports whether a process is gone, or has ended and waits for its parent.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}
