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
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/driver/host/display/x11"
)

const (
	testWidth  = 640
	testHeight = 360
)

var testapp string // path of the built test application

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "start-and-wait" {
		startAndWait(os.Args[2])
	}
	if _, err := exec.LookPath("Xvfb"); err != nil {
		fmt.Println("skipped: Xvfb is not installed (Debian's package is xvfb)")
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "testapp-")
	if err != nil {
		panic(err)
	}
	testapp = filepath.Join(dir, "testapp")
	out, err := exec.Command("go", "build", "-o", testapp, "github.com/nearcast/nearcast/dev/testapp").CombinedOutput()
	if err != nil {
		fmt.Printf("build testapp: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T) *Display {
	t.Helper()
	d, err := Start(within(t), Config{Width: testWidth, Height: testHeight, AuthDir: t.TempDir()})
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

type event struct {
	Type          string
	Width, Height int
}

// next reads events of the test application up to one of a type.
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

func TestWindowGetsScreenAndFocus(t *testing.T) {
	d := start(t)
	out := runClient(t, d, testapp, "-size", "100x50", "-color", "white")
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	if e := next(t, out, "resize"); e.Width != testWidth || e.Height != testHeight {
		t.Errorf("window is %dx%d, want the screen's %dx%d", e.Width, e.Height, testWidth, testHeight)
	}
	next(t, out, "focus_in")
	waitPicture(t, d, "all white", func(img image.Image) bool {
		return bright(img, 0, 0) && bright(img, testWidth-1, testHeight-1)
	})
}

func TestSecondWindowTakesOver(t *testing.T) {
	d := start(t)
	out := runClient(t, d, testapp, "-second-window", "-size", "300x200")
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	next(t, out, "focus_in")
	press(t, d)
	if e := next(t, out, "resize"); e.Width != testWidth || e.Height != testHeight {
		t.Errorf("second window is %dx%d", e.Width, e.Height)
	}
	next(t, out, "focus_in")
}

func TestDialogIsCentredAndReturnsFocus(t *testing.T) {
	d := start(t)
	out := runClient(t, d, testapp, "-dialog")
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	next(t, out, "focus_in")
	press(t, d) // turns the window white; the dialog is white too, so the main window goes black with the next
	next(t, out, "focus_out")
	next(t, out, "focus_in")
	d.wm.mu.Lock()
	top := d.wm.clients[len(d.wm.clients)-1].win
	d.wm.mu.Unlock()
	g, err := xproto.GetGeometry(d.wm.conn, xproto.Drawable(top)).Reply()
	if err != nil {
		t.Fatal(err)
	}
	if g.Width != 200 || g.Height != 100 || g.X != (testWidth-200)/2 || g.Y != (testHeight-100)/2 {
		t.Errorf("dialog is %dx%d at %d,%d", g.Width, g.Height, g.X, g.Y)
	}
	xproto.DestroyWindow(d.wm.conn, top)
	next(t, out, "focus_in")
}

func TestFullscreenIsGranted(t *testing.T) {
	d := start(t)
	conn, err := x11.Dial(d.Name(), d.Authority())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	win, err := xproto.NewWindowId(conn)
	if err != nil {
		t.Fatal(err)
	}
	a := d.wm.atoms
	xproto.CreateWindow(conn, 24, win, d.wm.root, 0, 0, 80, 60, 0, xproto.WindowClassInputOutput, 0, 0, nil)
	xproto.MapWindow(conn, win)
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	ask := func(action uint32) {
		e := xproto.ClientMessageEvent{Format: 32, Window: win, Type: a.netWMState,
			Data: xproto.ClientMessageDataUnionData32New([]uint32{action, uint32(a.netWMStateFullscreen), 0, 1, 0})}
		xproto.SendEvent(conn, false, d.wm.root, xproto.EventMaskSubstructureRedirect|xproto.EventMaskSubstructureNotify, string(e.Bytes()))
	}
	granted := func() bool {
		r, err := xproto.GetProperty(conn, false, win, a.netWMState, xproto.AtomAtom, 0, 64).Reply()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(r.Value), string(le32(uint32(a.netWMStateFullscreen))))
	}
	for _, want := range []bool{true, false} {
		ask(map[bool]uint32{true: 1, false: 0}[want])
		until(t, fmt.Sprintf("fullscreen %v", want), func() bool { return granted() == want })
	}
}

// TestFixedSizeIsCentred: an application that can draw one size only must not
// get a window of another.
func TestFixedSizeIsCentred(t *testing.T) {
	d := start(t)
	conn, err := x11.Dial(d.Name(), d.Authority())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	win, err := xproto.NewWindowId(conn)
	if err != nil {
		t.Fatal(err)
	}
	hints := func(min, max [2]uint32) {
		h := make([]byte, 0, 18*4)
		for _, v := range []uint32{1<<4 | 1<<5, 0, 0, 0, 0, min[0], min[1], max[0], max[1], 0, 0, 0, 0, 0, 0, 0, 0, 0} {
			h = append(h, le32(v)...)
		}
		xproto.ChangeProperty(conn, xproto.PropModeReplace, win, xproto.AtomWmNormalHints, xproto.AtomWmSizeHints, 32, 18, h)
	}
	is := func(x, y, w, h int) func() bool {
		return func() bool {
			g, err := xproto.GetGeometry(conn, xproto.Drawable(win)).Reply()
			if err != nil {
				t.Fatal(err)
			}
			return int(g.X) == x && int(g.Y) == y && int(g.Width) == w && int(g.Height) == h
		}
	}
	xproto.CreateWindow(conn, 24, win, d.wm.root, 5, 5, 400, 300, 0, xproto.WindowClassInputOutput, 0, 0, nil)
	hints([2]uint32{400, 300}, [2]uint32{400, 300})
	// SDL calls its borderless main windows transient for the root window.
	xproto.ChangeProperty(conn, xproto.PropModeReplace, win, xproto.AtomWmTransientFor, xproto.AtomWindow, 32, 1, le32(uint32(d.wm.root)))
	xproto.MapWindow(conn, win)
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	until(t, "centred window", is((testWidth-400)/2, (testHeight-300)/2, 400, 300))
	hints([2]uint32{100, 100}, [2]uint32{9999, 9999})
	until(t, "window that fills the screen", is(0, 0, testWidth, testHeight))
}

func TestOverrideRedirectFullScreenIsFocused(t *testing.T) {
	d := start(t)
	conn, err := x11.Dial(d.Name(), d.Authority())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	win, err := xproto.NewWindowId(conn)
	if err != nil {
		t.Fatal(err)
	}
	xproto.CreateWindow(conn, 24, win, d.wm.root, 0, 0, testWidth, testHeight, 0, xproto.WindowClassInputOutput, 0,
		xproto.CwOverrideRedirect, []uint32{1})
	xproto.MapWindow(conn, win)
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	until(t, "focus", func() bool {
		r, err := xproto.GetInputFocus(conn).Reply()
		return err == nil && r.Focus == win
	})
}

func TestRequestClose(t *testing.T) {
	d := start(t)
	out := runClient(t, d, testapp)
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := d.RequestClose(); err != nil {
		t.Fatal(err)
	}
	next(t, out, "close")
}

func TestEntryNeedsTheCookie(t *testing.T) {
	d := start(t)
	if conn, err := x11.Dial(d.Name(), ""); err == nil {
		conn.Close()
		t.Fatal("a client without the cookie was let in")
	}
	wrong := filepath.Join(t.TempDir(), "auth")
	if err := x11.WriteAuthority(wrong, x11.NewCookie(), os.Getuid(), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if conn, err := x11.Dial(d.Name(), wrong); err == nil {
		conn.Close()
		t.Fatal("a client with a wrong cookie was let in")
	}
	info, err := os.Stat(d.Authority())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("cookie file has mode %v", info.Mode())
	}
}

func TestRunsAsAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for p := dir; p != "/tmp" && p != "/"; p = filepath.Dir(p) {
		os.Chmod(p, 0o755)
	}
	d, err := Start(within(t), Config{Width: 320, Height: 200, AuthDir: dir, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "Uid:\t65534\t65534\t65534") {
		t.Errorf("server runs as somebody else:\n%s", status)
	}
	env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", d.PID()))
	if strings.Contains(string(env), "HOME=") {
		t.Errorf("server has our environment: %q", env)
	}
}

func TestSeveralAtOnce(t *testing.T) {
	type result struct {
		d   *Display
		err error
	}
	const n = 4
	results := make(chan result, n)
	for range n {
		dir := t.TempDir()
		go func() {
			d, err := Start(within(t), Config{Width: 64, Height: 64, AuthDir: dir})
			results <- result{d, err}
		}()
	}
	names := map[string]bool{}
	for range n {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		defer r.d.Close()
		names[r.d.Name()] = true
	}
	if len(names) != n {
		t.Errorf("displays are %v", names)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	d := start(t)
	n, _ := x11.Number(d.Name())
	files := []string{x11.Socket(n), d.Authority(), fmt.Sprintf("/tmp/.X%d-lock", n)}
	for _, f := range files[:2] {
		if _, err := os.Lstat(f); err != nil {
			t.Errorf("while it runs: %v", err)
		}
	}
	d.Close()
	d.Close() // again is harmless
	if err := d.Err(); err != nil {
		t.Errorf("Err after Close: %v", err)
	}
	for _, f := range files {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", f, err)
		}
	}
	if err := d.WaitWindow(within(t)); err == nil {
		t.Error("WaitWindow on a closed display returned nil")
	}
}

func TestServerDeathIsTold(t *testing.T) {
	d := start(t)
	syscall.Kill(d.PID(), syscall.SIGKILL)
	err := d.WaitWindow(within(t))
	<-d.Done()
	if !errors.Is(d.Err(), ErrServerDied) {
		t.Errorf("Err: %v", d.Err())
	}
	if err == nil {
		t.Error("WaitWindow on a dead display returned nil")
	}
	n, _ := x11.Number(d.Name())
	d.Close()
	if _, err := os.Lstat(x11.Socket(n)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead server's socket is left: %v", err)
	}
}

// TestKilledParentLeavesNothing kills a process that runs a display.
func TestKilledParentLeavesNothing(t *testing.T) {
	cmd := exec.CommandContext(within(t), "/proc/self/exe", "start-and-wait", t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var number, pid int
	if _, err := fmt.Fscanln(out, &number, &pid); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	until(t, "end of the server", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
	for _, f := range []string{x11.Socket(number), fmt.Sprintf("/tmp/.X%d-lock", number)} {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", f, err)
		}
	}
}

func startAndWait(dir string) {
	d, err := Start(context.Background(), Config{Width: 64, Height: 64, AuthDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	n, _ := x11.Number(d.Name())
	fmt.Println(n, d.PID())
	<-d.Done()
	os.Exit(0)
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{}, {Width: -1, Height: 5}, {Width: 100000, Height: 100}} {
		c.AuthDir = t.TempDir()
		if d, err := Start(within(t), c); err == nil {
			d.Close()
			t.Errorf("%dx%d was accepted", c.Width, c.Height)
		}
	}
	if d, err := Start(within(t), Config{Width: 64, Height: 64, AuthDir: "/nonexistent"}); err == nil {
		d.Close()
		t.Error("a missing AuthDir was accepted")
	}
}

// zombie reports whether a process has ended and only waits for its parent.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// press clicks into the middle of the screen, as XTEST does.
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
	until(t, what, func() bool {
		img, err := d.Screenshot()
		if err != nil {
			t.Fatal(err)
		}
		return ok(img)
	})
}

// until polls a condition that has no event to wait on.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s in time", what)
		case <-tick.C:
		}
	}
}

func le32(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
