package display

import (
	"fmt"
	"image"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestWindowGetsScreenAndFocus(t *testing.T) { testkit.EachDisplay(t, windowGetsScreenAndFocus) }

func windowGetsScreenAndFocus(t *testing.T, server wire.XServer) {
	d := start(t, server)
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

func TestSecondWindowTakesOver(t *testing.T) { testkit.EachDisplay(t, secondWindowTakesOver) }

func secondWindowTakesOver(t *testing.T, server wire.XServer) {
	d := start(t, server)
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
	testkit.EachDisplay(t, dialogIsCentredAndReturnsFocus)
}

func dialogIsCentredAndReturnsFocus(t *testing.T, server wire.XServer) {
	d := start(t, server)
	out := runClient(t, d, testapp, "-dialog")
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	next(t, out, "focus_in")
	press(t, d) // opens the dialog
	next(t, out, "focus_out")
	next(t, out, "focus_in")
	focus, err := xproto.GetInputFocus(d.wm.conn).Reply()
	if err != nil {
		t.Fatal(err)
	}
	top := focus.Focus
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

// A program that shows nothing but a dialog, such as zenity, is ready when that is there.
// A splash screen says that the program still loads. Toolkits name a window above the dialog
// that nobody sees: Qt the leader of its windows, others a main window that is yet to come.
func TestDialogAlone(t *testing.T) { testkit.EachDisplay(t, dialogAlone) }

func dialogAlone(t *testing.T, server wire.XServer) {
	for name, above := range map[string]func(hidden, splash xproto.Window) xproto.Window{
		"belongs to nothing":          nil,
		"belongs to an unseen window": func(hidden, _ xproto.Window) xproto.Window { return hidden },
		"belongs to the splash":       func(_, splash xproto.Window) xproto.Window { return splash },
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, server)
			conn := dialApp(t, d)
			a := d.wm.atoms
			create := func() xproto.Window {
				win, err := xproto.NewWindowId(conn)
				testkit.Must(t, err)
				xproto.CreateWindow(conn, 24, win, d.wm.root, 0, 0, 200, 100, 0, xproto.WindowClassInputOutput, 0, 0, nil)
				return win
			}
			open := func(kind xproto.Atom, above xproto.Window) xproto.Window {
				win := create()
				xproto.ChangeProperty(conn, xproto.PropModeReplace, win, a.netWMWindowType, xproto.AtomAtom, 32, 1, le32(uint32(kind)))
				if above != 0 {
					xproto.ChangeProperty(conn, xproto.PropModeReplace, win, xproto.AtomWmTransientFor, xproto.AtomWindow, 32, 1, le32(uint32(above)))
				}
				xproto.MapWindow(conn, win)
				testkit.Until(t, "the window is there", func() bool {
					r, err := xproto.GetProperty(conn, false, d.wm.root, a.netActiveWindow, xproto.AtomWindow, 0, 1).Reply()
					return err == nil && string(r.Value) == string(le32(uint32(win)))
				})
				return win
			}
			splash := open(a.netWMWindowTypeSplash, 0)
			select {
			case <-d.wm.shown:
				t.Error("a splash screen counts as the main window")
			default:
			}
			var of xproto.Window
			if above != nil {
				of = above(create(), splash)
			}
			dialog := open(a.netWMWindowTypeDialog, of)
			testkit.Must(t, d.WaitWindow(testkit.Context(t, 20*time.Second)))
			g, err := xproto.GetGeometry(conn, xproto.Drawable(dialog)).Reply()
			testkit.Must(t, err)
			if g.Width != 200 || g.Height != 100 || g.X != (testWidth-200)/2 || g.Y != (testHeight-100)/2 {
				t.Errorf("dialog is %dx%d at %d,%d", g.Width, g.Height, g.X, g.Y)
			}
		})
	}
}

// Qt's dialogs without a parent: a message, and a question as of a program that asks who uses it.
func TestQtDialogAlone(t *testing.T) {
	if err := exec.Command("/usr/bin/python3", "-c", "import PyQt5.QtWidgets").Run(); err != nil {
		t.Skip("python3-pyqt5 is not installed")
	}
	testkit.NeedXvfb(t)
	for name, first := range map[string]string{
		"message":  `w.QMessageBox.information(None, "first", "words")`,
		"question": `w.QInputDialog.getText(None, "first", "name")`,
		"wizard":   `x = w.QWizard(); x.addPage(w.QWizardPage()); x.exec()`,
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, wire.XServer{Server: wire.ServerXvfb})
			runClient(t, d, "/usr/bin/python3", "-c", "import PyQt5.QtWidgets as w; a = w.QApplication([]); "+first)
			testkit.Must(t, d.WaitWindow(testkit.Context(t, 30*time.Second)))
		})
	}
}

func TestFullscreenIsGranted(t *testing.T) { testkit.EachDisplay(t, fullscreenIsGranted) }

func fullscreenIsGranted(t *testing.T, server wire.XServer) {
	d := start(t, server)
	conn := dialApp(t, d)
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
		testkit.Until(t, fmt.Sprintf("fullscreen %v", want), func() bool { return granted() == want })
	}
}

// An application that can draw one size only must not get a window of another.
func TestFixedSizeIsCentred(t *testing.T) { testkit.EachDisplay(t, fixedSizeIsCentred) }

func fixedSizeIsCentred(t *testing.T, server wire.XServer) {
	d := start(t, server)
	conn := dialApp(t, d)
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
	// SDL marks its borderless main windows as transient for the root window.
	xproto.ChangeProperty(conn, xproto.PropModeReplace, win, xproto.AtomWmTransientFor, xproto.AtomWindow, 32, 1, le32(uint32(d.wm.root)))
	xproto.MapWindow(conn, win)
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	testkit.Until(t, "centred window", is((testWidth-400)/2, (testHeight-300)/2, 400, 300))
	hints([2]uint32{100, 100}, [2]uint32{9999, 9999})
	testkit.Until(t, "window that fills the screen", is(0, 0, testWidth, testHeight))
}

func TestOverrideRedirectFullScreenIsFocused(t *testing.T) {
	testkit.EachDisplay(t, overrideRedirectFullScreenIsFocused)
}

func overrideRedirectFullScreenIsFocused(t *testing.T, server wire.XServer) {
	d := start(t, server)
	conn := dialApp(t, d)
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
	focused := func(w xproto.Window) func() bool {
		return func() bool {
			r, err := xproto.GetInputFocus(conn).Reply()
			return err == nil && r.Focus == w
		}
	}
	testkit.Until(t, "focus", focused(win))

	// A helper window of the app comes and goes: the keys are the game's again.
	helper, err := xproto.NewWindowId(conn)
	testkit.Must(t, err)
	xproto.CreateWindow(conn, 24, helper, d.wm.root, 0, 0, 200, 100, 0, xproto.WindowClassInputOutput, 0, 0, nil)
	xproto.MapWindow(conn, helper)
	testkit.Until(t, "focus of the helper", focused(helper))
	xproto.UnmapWindow(conn, helper)
	testkit.Until(t, "focus of the game", focused(win))

	// A long menu covers the screen, and becomes shorter.
	menu, err := xproto.NewWindowId(conn)
	testkit.Must(t, err)
	xproto.MapWindow(conn, helper)
	testkit.Until(t, "focus of the helper", focused(helper))
	xproto.CreateWindow(conn, 24, menu, d.wm.root, 0, 0, testWidth, testHeight, 0, xproto.WindowClassInputOutput, 0, xproto.CwOverrideRedirect, []uint32{1})
	xproto.MapWindow(conn, menu)
	testkit.Until(t, "focus of the menu", focused(menu))
	xproto.ConfigureWindow(conn, menu, xproto.ConfigWindowHeight, []uint32{testHeight / 2})
	testkit.Until(t, "focus of the helper below the menu", focused(helper))
	xproto.UnmapWindow(conn, helper)
	testkit.Until(t, "focus of none", focused(xproto.InputFocusPointerRoot))
	xproto.UnmapWindow(conn, win)
	testkit.Until(t, "focus of none", focused(xproto.InputFocusPointerRoot))
}

func TestCloseIsPassedToTheWindow(t *testing.T) { testkit.EachDisplay(t, closeIsPassedToTheWindow) }

func closeIsPassedToTheWindow(t *testing.T, server wire.XServer) {
	d := start(t, server)
	out := runClient(t, d, testapp)
	if err := d.WaitWindow(within(t)); err != nil {
		t.Fatal(err)
	}
	next(t, out, "focus_in")
	focus, err := xproto.GetInputFocus(d.wm.conn).Reply()
	if err != nil {
		t.Fatal(err)
	}
	e := xproto.ClientMessageEvent{Format: 32, Window: focus.Focus, Type: d.wm.atoms.netCloseWindow,
		Data: xproto.ClientMessageDataUnionData32New([]uint32{xproto.TimeCurrentTime, 1, 0, 0, 0})}
	xproto.SendEvent(d.wm.conn, false, d.wm.root, xproto.EventMaskSubstructureRedirect|xproto.EventMaskSubstructureNotify, string(e.Bytes()))
	next(t, out, "close")
}
