package display

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"image"
	"os/exec"
	"strings"
	"testing"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// startWith starts a server whose screen may have other sizes later.
func startWith(t *testing.T, cfg Config) *Display {
	t.Helper()
	cfg.Width, cfg.Height = testWidth, testHeight
	cfg.Runner, cfg.Dir = cell.Local{Dir: t.TempDir()}, t.TempDir()
	d, err := Start(within(t), cfg)
	testkit.Must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// screenClient is a program that changes the screen, as xrandr does.
type screenClient struct {
	*x11.RandR
	res  x11.Resources
	crtc x11.CRTC
}

func openScreenClient(t *testing.T, d *Display) *screenClient {
	t.Helper()
	client, err := x11.Dial(d.Dial, d.Cookie())
	testkit.Must(t, err)
	t.Cleanup(client.Close)
	r, err := client.RandR(d.wm.root)
	testkit.Must(t, err)
	c := &screenClient{RandR: r}
	c.res, err = r.Resources()
	testkit.Must(t, err)
	if len(c.res.CRTCs) == 0 {
		t.Skip("the server has no monitor")
	}
	c.crtc, err = r.CRTC(c.res.CRTCs[0], c.res.Stamp)
	testkit.Must(t, err)
	return c
}

// fb is "xrandr --fb": the screen gets a size, without a monitor.
func (c *screenClient) fb(t *testing.T, width, height int) {
	t.Helper()
	testkit.Must(t, c.SetCRTC(c.res.CRTCs[0], c.res.Stamp, 0, nil))
	testkit.Must(t, c.SetScreenSize(width, height, dpi))
}

func untilSize(t *testing.T, d *Display, out *bufio.Scanner, width, height int) {
	t.Helper()
	testkit.Until(t, fmt.Sprintf("a screen of %dx%d", width, height), func() bool { return d.Size() == Size{width, height} })
	for e := next(t, out, "resize"); e.Width != width || e.Height != height; {
		e = next(t, out, "resize")
	}
	waitPicture(t, d, "the window fills the screen", func(img image.Image) bool {
		return bright(img, 0, 0) && bright(img, width-1, height-1)
	})
}

func TestAppChangesTheScreen(t *testing.T) { testkit.EachDisplay(t, appChangesTheScreen) }

func appChangesTheScreen(t *testing.T, server wire.XServer) {
	d := start(t, server)
	out := runClient(t, d, testapp, "-size", "100x50", "-color", "white")
	testkit.Must(t, d.WaitWindow(within(t)))
	untilSize(t, d, out, testWidth, testHeight)
	c := openScreenClient(t, d)
	c.fb(t, 320, 240)
	untilSize(t, d, out, 320, 240)
	c.fb(t, testWidth, testHeight)
	untilSize(t, d, out, testWidth, testHeight)
}

// A game may change the mode of the monitor, and leave the screen as it is.
func TestAppChangesTheMonitor(t *testing.T) { testkit.EachInCell(t, appChangesTheMonitor) }

func appChangesTheMonitor(t *testing.T, server wire.XServer) {
	d := startWith(t, Config{Server: server, MaxWidth: 1280, MaxHeight: 720})
	out := runClient(t, d, testapp, "-color", "white")
	testkit.Must(t, d.WaitWindow(within(t)))
	untilSize(t, d, out, testWidth, testHeight)
	d.SetView(View{Size{1280, 720}, 1})
	untilSize(t, d, out, 1280, 720)
	c := openScreenClient(t, d)
	mode := hasMode(c.res, 800, 600)
	if mode == 0 {
		t.Fatalf("the monitor has no mode 800x600: %+v", c.res.Modes)
	}
	testkit.Must(t, c.SetCRTC(c.res.CRTCs[0], c.res.Stamp, mode, c.crtc.Outputs))
	untilSize(t, d, out, 800, 600)
	testkit.Must(t, c.SetCRTC(c.res.CRTCs[0], c.res.Stamp, c.crtc.Mode, c.crtc.Outputs))
	untilSize(t, d, out, 1280, 720)
}

func TestScreenFollowsTheView(t *testing.T) { testkit.EachInCell(t, screenFollowsTheView) }

func screenFollowsTheView(t *testing.T, server wire.XServer) {
	d := startWith(t, Config{Server: server, MaxWidth: 1280, MaxHeight: 1280})
	out := runClient(t, d, testapp, "-color", "white")
	testkit.Must(t, d.WaitWindow(within(t)))
	untilSize(t, d, out, testWidth, testHeight)
	for _, size := range []Size{{1280, 720}, {360, 780}, {1280, 1280}, {642, 362}, {testWidth, testHeight}} {
		d.SetView(View{size, 1})
		untilSize(t, d, out, size.Width, size.Height)
	}
	d.SetView(View{Size{3000, 2000}, 1}) // the server has no more than this
	untilSize(t, d, out, 1280, 1280)
	// The modes that were made meanwhile are gone.
	res, err := openScreenClient(t, d).Resources()
	testkit.Must(t, err)
	if id := hasMode(res, 642, 362) + hasMode(res, 360, 780); id != 0 {
		t.Errorf("the monitor still has the mode %#x of an earlier view", id)
	}
}

// sdl is a program of SDL 2 that takes the mode 800x600 for its full screen, says so,
// and goes back at a line on its standard input.
const sdl = `
import ctypes, sys
sdl = ctypes.CDLL("libSDL2-2.0.so.0")
class Mode(ctypes.Structure):
    _fields_ = [("format", ctypes.c_uint32), ("w", ctypes.c_int), ("h", ctypes.c_int), ("rate", ctypes.c_int), ("data", ctypes.c_void_p)]
sdl.SDL_CreateWindow.restype = ctypes.c_void_p
sdl.SDL_GetError.restype = ctypes.c_char_p
def must(ok):
    if not ok: raise SystemExit(sdl.SDL_GetError())
must(sdl.SDL_Init(0x20) == 0)
window = ctypes.c_void_p(sdl.SDL_CreateWindow(b"sdl", 0, 0, 300, 200, 4))
want, mode = Mode(0, int(sys.argv[1]), int(sys.argv[2]), 0, None), Mode()
must(sdl.SDL_GetClosestDisplayMode(0, ctypes.byref(want), ctypes.byref(mode)))
must(sdl.SDL_SetWindowDisplayMode(window, ctypes.byref(mode)) == 0)
must(sdl.SDL_SetWindowFullscreen(window, 1) == 0)
import threading, time
back = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), back.set()), daemon=True).start()
print("full", flush=True)
event = (ctypes.c_char * 64)()
while not back.is_set():
    sdl.SDL_PollEvent(event); time.sleep(0.01)
must(sdl.SDL_SetWindowFullscreen(window, 0) == 0)
while True:
    sdl.SDL_PollEvent(event); time.sleep(0.01)
`

func TestSDLFullScreen(t *testing.T) { testkit.EachInCell(t, sdlFullScreen) }

func sdlFullScreen(t *testing.T, server wire.XServer) {
	d := startWith(t, Config{Server: server, MaxWidth: 1280, MaxHeight: 720})
	if err := exec.Command("python3", "-c", `import ctypes; ctypes.CDLL("libSDL2-2.0.so.0")`).Run(); err != nil {
		t.Skip("python3 with libsdl2-2.0-0 is not installed")
	}
	for _, want := range []Size{{640, 480}, {1280, 720}} { // smaller than the screen is wide, and larger
		cmd := exec.CommandContext(within(t), "python3", "-c", sdl, fmt.Sprint(want.Width), fmt.Sprint(want.Height))
		cmd.Env = append(d.Env(), "PATH=/usr/bin:/bin", "HOME="+t.TempDir())
		in, err := cmd.StdinPipe()
		testkit.Must(t, err)
		out, err := cmd.StdoutPipe()
		testkit.Must(t, err)
		p := testkit.Start(t, cmd)
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "full\n" {
			t.Fatalf("the program says %q: %v", line, err)
		}
		testkit.Until(t, fmt.Sprint("the mode of the program: ", want), func() bool { return d.Size() == want })
		d.SetView(View{Size{700, 500}, 1})
		fmt.Fprintln(in) // it leaves its full screen
		testkit.Until(t, "the person's size", func() bool { return d.Size() == Size{700, 500} })
		p.Kill()
		d.SetView(View{Size{testWidth, testHeight}, 1})
		testkit.Until(t, "the first size", func() bool { return d.Size() == Size{testWidth, testHeight} })
	}
}

// settings reads what toolkits read.
func settings(t *testing.T, d *Display) (resources string, values map[string]int) {
	t.Helper()
	conn := dialApp(t, d)
	property := func(win xproto.Window, name xproto.Atom) []byte {
		r, err := xproto.GetProperty(conn, false, win, name, xproto.GetPropertyTypeAny, 0, 1<<10).Reply()
		testkit.Must(t, err)
		return r.Value
	}
	owner, err := xproto.GetSelectionOwner(conn, d.wm.atoms.xsettingsManager).Reply()
	testkit.Must(t, err)
	b := property(owner.Owner, d.wm.atoms.xsettings)
	values = map[string]int{}
	for n, b := binary.LittleEndian.Uint32(b[8:]), b[12:]; n > 0; n-- {
		size := int(binary.LittleEndian.Uint16(b[2:]))
		at := 4 + (size+3)&^3
		values[string(b[4:4+size])] = int(int32(binary.LittleEndian.Uint32(b[at+4:])))
		b = b[at+8:]
	}
	return string(property(d.wm.root, xproto.AtomResourceManager)), values
}

func TestUIScaleIsTold(t *testing.T) {
	d := startWith(t, Config{MaxWidth: 1280, MaxHeight: 720, Scale: 1.5})
	resources, values := settings(t, d)
	if !strings.Contains(resources, "Xft.dpi:\t144\n") {
		t.Errorf("the resources are %q", resources)
	}
	if values["Gdk/WindowScalingFactor"] != 1 || values["Gdk/UnscaledDPI"] != 144*1024 || values["Xft/DPI"] != 144*1024 {
		t.Errorf("the settings are %v", values)
	}
	d.SetView(View{Size{1280, 720}, 3})
	testkit.Until(t, "the next scale", func() bool {
		resources, values = settings(t, d)
		return strings.Contains(resources, "Xft.dpi:\t288\n") && values["Gdk/WindowScalingFactor"] == 3 && values["Gdk/UnscaledDPI"] == 96*1024
	})
}

// GTK draws as large as it was told, and follows while it runs.
func TestGTKFollowsTheScale(t *testing.T) {
	if _, err := exec.LookPath("zenity"); err != nil {
		t.Skip("zenity is not installed")
	}
	d := startWith(t, Config{MaxWidth: 1280, MaxHeight: 720})
	widths := map[float64]int{}
	for _, scale := range []float64{1, 2} {
		d.SetView(View{Size{1280, 720}, scale})
		cmd := exec.CommandContext(within(t), "zenity", "--question", "--text=Is this as large as it should be?")
		cmd.Env = append(d.Env(), "PATH=/usr/bin:/bin", "HOME="+t.TempDir())
		p := testkit.Start(t, cmd)
		testkit.Until(t, "the dialog", func() bool {
			r, err := xproto.GetProperty(d.wm.conn, false, d.wm.root, d.wm.atoms.netActiveWindow, xproto.AtomWindow, 0, 1).Reply()
			if err != nil || len(r.Value) < 4 {
				return false
			}
			g, err := xproto.GetGeometry(d.wm.conn, xproto.Drawable(binary.LittleEndian.Uint32(r.Value))).Reply()
			if err == nil {
				widths[scale] = int(g.Width)
			}
			return err == nil && g.Width > 50
		})
		p.Kill()
		testkit.Until(t, "the dialog is gone", func() bool { return d.Windows() == 0 })
	}
	if widths[2] < widths[1]*7/4 {
		t.Errorf("a dialog is %v wide, by scale", widths)
	}
}
