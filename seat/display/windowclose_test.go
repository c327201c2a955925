package display

import (
	"os"
	"os/exec"
	"testing"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestAltF4(t *testing.T) { testkit.EachDisplay(t, altF4) }

func altF4(t *testing.T, server wire.XServer) {
	d := start(t, server)
	if _, err := exec.LookPath("xdotool"); err != nil {
		t.Skip("xdotool is not installed")
	}
	for _, lock := range []string{"Caps_Lock", "Num_Lock"} { // one after the other is on
		out := runClient(t, d, testapp) // it ends when it is asked to close
		testkit.Must(t, d.WaitWindow(within(t)))
		next(t, out, "focus_in")
		cmd := exec.CommandContext(within(t), "xdotool", "key", lock, "key", "alt+F4")
		cmd.Env = append(d.Env(), "PATH="+os.Getenv("PATH"))
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("xdotool: %v: %s", err, text)
		}
		next(t, out, "close")
	}
}

// A second top-level window, as Blender's preferences, can be closed, and the first one
// is there again with the keyboard.
func TestWindowBelowComesBack(t *testing.T) { testkit.EachDisplay(t, windowBelowComesBack) }

func windowBelowComesBack(t *testing.T, server wire.XServer) {
	d := start(t, server)
	conn := dialApp(t, d)
	var windows []xproto.Window
	focused := func() xproto.Window {
		r, err := xproto.GetInputFocus(conn).Reply()
		testkit.Must(t, err)
		return r.Focus
	}
	for n := 1; n <= 2; n++ {
		win, err := xproto.NewWindowId(conn)
		testkit.Must(t, err)
		xproto.CreateWindow(conn, 24, win, d.wm.root, 0, 0, 200, 100, 0, xproto.WindowClassInputOutput, 0, 0, nil)
		xproto.MapWindow(conn, win)
		windows = append(windows, win)
		testkit.Until(t, "the keyboard", func() bool { return focused() == win })
		testkit.Until(t, "the number of windows", func() bool { return d.Windows() == n })
	}
	<-d.Changed()
	d.CloseWindow()
	testkit.Until(t, "the first window", func() bool { return focused() == windows[0] && d.Windows() == 1 })
	select {
	case <-d.Changed():
	case <-within(t).Done():
		t.Error("nobody is told that a window was closed")
	}
}
