package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unsafe"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

func sigaction(s syscall.Signal, act *[4]uint64) {
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(act)), 0, 8, 0, 0)
}

// app is the application's connection, window and colour.
type app struct {
	options
	conn    *xgb.Conn
	screen  *xproto.ScreenInfo
	win     xproto.Window
	gc      xproto.Gcontext
	width   int
	height  int
	pixel   uint32
	white   bool
	frames  int
	presses int
	keys    keymap
	deletes xproto.Atom
	pings   xproto.Atom
	shown   sync.Once
	look    look

	pictures pictures
}

const eventMask = xproto.EventMaskKeyPress | xproto.EventMaskKeyRelease |
	xproto.EventMaskButtonPress | xproto.EventMaskButtonRelease | xproto.EventMaskPointerMotion |
	xproto.EventMaskExposure | xproto.EventMaskStructureNotify | xproto.EventMaskFocusChange

// show runs the window until it is closed or quit says so.
func show(o options, quit <-chan struct{}) error {
	pixel, err := parseColor(o.color)
	if err != nil {
		return err
	}
	conn, err := xgb.NewConn()
	if err != nil {
		return fmt.Errorf("connect to the display: %w", err)
	}
	defer conn.Close()
	a := &app{options: o, conn: conn, screen: xproto.Setup(conn).DefaultScreen(conn), pixel: pixel, width: o.width, height: o.height}
	a.white = pixel == 0xffffff
	if err := a.keys.load(conn); err != nil {
		return fmt.Errorf("read the keymap: %w", err)
	}
	if a.gc, err = xproto.NewGcontextId(conn); err != nil {
		return err
	}
	xproto.CreateGC(conn, a.gc, xproto.Drawable(a.screen.Root), xproto.GcForeground, []uint32{pixel})
	if o.show != "" {
		a.pictures.rest = o.rest
		if err := a.loadPictures(o.show); err != nil {
			return err
		}
	}
	if a.win, err = a.open("testapp", o.width, o.height, 0); err != nil {
		return err
	}

	events := make(chan xgb.Event)
	go func() {
		defer close(events)
		for {
			ev, err := conn.WaitForEvent()
			if ev == nil && err == nil {
				return
			}
			if ev != nil {
				events <- ev
			}
		}
	}()
	var tick <-chan time.Time
	if o.fps > 0 {
		t := time.NewTicker(time.Second / time.Duration(o.fps))
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-quit:
			return nil
		case <-tick:
			a.frames++
			switch {
			case o.show != "":
				a.drawPicture(time.Now())
			case a.moving:
				a.drawBars()
			default:
				a.drawCounter()
			}
		case ev, ok := <-events:
			if !ok {
				return fmt.Errorf("the display is gone")
			}
			if over, err := a.handle(ev); over || err != nil {
				return err
			}
		}
	}
}

// open makes and maps a window; above is the window it is a dialog of, or 0.
func (a *app) open(title string, width, height int, above xproto.Window) (xproto.Window, error) {
	win, err := xproto.NewWindowId(a.conn)
	if err != nil {
		return 0, err
	}
	err = xproto.CreateWindowChecked(a.conn, a.screen.RootDepth, win, a.screen.Root, 10, 10, uint16(width), uint16(height), 0,
		xproto.WindowClassInputOutput, a.screen.RootVisual,
		xproto.CwBackPixel|xproto.CwEventMask, []uint32{a.pixel, eventMask}).Check()
	if err != nil {
		return 0, fmt.Errorf("create window: %w", err)
	}
	put := func(w xproto.Window, name, kind xproto.Atom, format byte, data []byte) {
		xproto.ChangeProperty(a.conn, xproto.PropModeReplace, w, name, kind, format, uint32(len(data)*8/int(format)), data)
	}
	put(win, xproto.AtomWmName, xproto.AtomString, 8, []byte(title))
	put(win, xproto.AtomWmClass, xproto.AtomString, 8, []byte("testapp\x00Testapp\x00"))
	if above != 0 {
		put(win, xproto.AtomWmTransientFor, xproto.AtomWindow, 32, le(uint32(above)))
	}
	protocols, err := a.atom("WM_PROTOCOLS")
	if err != nil {
		return 0, err
	}
	if a.deletes, err = a.atom("WM_DELETE_WINDOW"); err != nil {
		return 0, err
	}
	if a.pings, err = a.atom("_NET_WM_PING"); err != nil {
		return 0, err
	}
	put(win, protocols, xproto.AtomAtom, 32, append(le(uint32(a.deletes)), le(uint32(a.pings))...))
	xproto.MapWindow(a.conn, win)
	return win, nil
}

func (a *app) atom(name string) (xproto.Atom, error) {
	r, err := xproto.InternAtom(a.conn, false, uint16(len(name)), name).Reply()
	if err != nil {
		return 0, fmt.Errorf("intern %s: %w", name, err)
	}
	return r.Atom, nil
}

// handle serves an event, and reports whether the application has ended.
func (a *app) handle(ev xgb.Event) (over bool, err error) {
	switch e := ev.(type) {
	case xproto.MapNotifyEvent:
		say(line{Type: "ready", Width: a.width, Height: a.height})
		a.shown.Do(func() { go misbehave(a.options) })
	case xproto.ConfigureNotifyEvent:
		if e.Window == a.win && (int(e.Width) != a.width || int(e.Height) != a.height) {
			a.width, a.height = int(e.Width), int(e.Height)
			say(line{Type: "resize", Width: a.width, Height: a.height})
		}
	case xproto.ExposeEvent:
		if e.Count == 0 {
			a.draw()
		}
	case xproto.MappingNotifyEvent:
		return false, a.keys.load(a.conn)
	case xproto.FocusInEvent:
		say(line{Type: "focus_in"})
	case xproto.FocusOutEvent:
		say(line{Type: "focus_out"})
	case xproto.KeyPressEvent:
		white := a.flip()
		l := a.key("key_press", e.Detail, e.State)
		l.White = &white
		say(l)
		if a.exitOnKey != "" && (l.Text == a.exitOnKey || l.Keysym == named[a.exitOnKey]) {
			return true, nil
		}
		if a.mouseLook {
			if err := a.lookKey(l.Text); err != nil {
				return false, err
			}
		}
		return false, a.pressed()
	case xproto.KeyReleaseEvent:
		say(a.key("key_release", e.Detail, e.State))
	case xproto.ButtonPressEvent:
		white := a.flip()
		l := pointer("button_press", e.EventX, e.EventY, e.State)
		l.Button, l.White = int(e.Detail), &white
		say(l)
		return false, a.pressed()
	case xproto.ButtonReleaseEvent:
		l := pointer("button_release", e.EventX, e.EventY, e.State)
		l.Button = int(e.Detail)
		say(l)
	case xproto.MotionNotifyEvent:
		if a.look.on {
			a.lookMotion(int(e.EventX), int(e.EventY))
			break
		}
		say(pointer("motion", e.EventX, e.EventY, e.State))
	case xproto.ClientMessageEvent:
		if e.Format != 32 {
			break
		}
		switch xproto.Atom(e.Data.Data32[0]) {
		case a.deletes:
			say(line{Type: "close"})
			return true, nil
		case a.pings:
			e.Window = a.screen.Root
			xproto.SendEvent(a.conn, false, a.screen.Root, xproto.EventMaskSubstructureNotify|xproto.EventMaskSubstructureRedirect, string(e.Bytes()))
		}
	}
	return false, nil
}

func (a *app) key(what string, code xproto.Keycode, state uint16) line {
	sym := a.keys.sym(code, state)
	return line{Type: what, Keycode: int(code), Keysym: sym, Text: text(sym), State: int(state)}
}

func pointer(what string, x, y int16, state uint16) line {
	px, py := int(x), int(y)
	return line{Type: what, X: &px, Y: &py, State: int(state)}
}

// pressed does what happens only at the first press.
func (a *app) pressed() (err error) {
	a.presses++
	if a.presses > 1 {
		return nil
	}
	if a.secondWindow {
		xproto.DestroyWindow(a.conn, a.win)
		a.width, a.height = a.options.width, a.options.height
		a.win, err = a.open("testapp, second window", a.width, a.height, 0)
	}
	if a.dialog {
		_, err = a.open("testapp, dialog", 200, 100, a.win)
	}
	return err
}

// flip changes the colour of the whole window.
func (a *app) flip() bool {
	a.white = !a.white
	a.pixel = 0
	if a.white {
		a.pixel = 0xffffff
	}
	a.draw()
	return a.white
}

func (a *app) draw() {
	if a.moving && a.presses > 0 {
		a.drawBars()
		return
	}
	// As background too, so that newly exposed parts are right at once.
	xproto.ChangeWindowAttributes(a.conn, a.win, xproto.CwBackPixel, []uint32{a.pixel})
	xproto.ClearArea(a.conn, false, a.win, 0, 0, 0, 0)
}

func parseColor(s string) (uint32, error) {
	switch s {
	case "black":
		return 0, nil
	case "white":
		return 0xffffff, nil
	}
	hex, ok := strings.CutPrefix(s, "#")
	v, err := strconv.ParseUint(hex, 16, 32)
	if !ok || err != nil || len(hex) != 6 {
		return 0, fmt.Errorf("-color %q is not black, white or #rrggbb", s)
	}
	return uint32(v), nil
}

func le(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

// named are the keys that -exit-on-key knows by name.
var named = map[string]uint32{
	"Escape": 0xff1b, "Enter": 0xff0d, "Tab": 0xff09, "Backspace": 0xff08, "Delete": 0xffff,
	"F1": 0xffbe, "F2": 0xffbf, "F3": 0xffc0, "F4": 0xffc1, "F5": 0xffc2, "F6": 0xffc3,
	"F7": 0xffc4, "F8": 0xffc5, "F9": 0xffc6, "F10": 0xffc7, "F11": 0xffc8, "F12": 0xffc9,
}

// keymap is the keyboard mapping of the display, as in the core protocol.
type keymap struct {
	first xproto.Keycode
	width int
	syms  []xproto.Keysym
}

func (k *keymap) load(conn *xgb.Conn) error {
	s := xproto.Setup(conn)
	r, err := xproto.GetKeyboardMapping(conn, s.MinKeycode, byte(s.MaxKeycode-s.MinKeycode)+1).Reply()
	if err != nil {
		return err
	}
	k.first, k.width, k.syms = s.MinKeycode, int(r.KeysymsPerKeycode), r.Keysyms
	return nil
}

// sym is what a key means with these modifiers.
func (k *keymap) sym(code xproto.Keycode, state uint16) uint32 {
	at := func(i int) uint32 {
		i += int(code-k.first) * k.width
		if i < 0 || i >= len(k.syms) {
			return 0
		}
		return uint32(k.syms[i])
	}
	level := 0
	if state&xproto.ModMask5 != 0 && k.width > 4 && at(4) != 0 {
		level = 4
	}
	shift := state&xproto.ModMaskShift != 0
	switch {
	case at(1) >= 0xff80 && at(1) <= 0xffbd && state&xproto.ModMask2 != 0: // numeric pad
		shift = !shift
	case state&xproto.ModMaskLock != 0 && unicode.IsLetter(firstRune(text(at(level)))):
		shift = !shift
	}
	if shift && k.width > level+1 && at(level+1) != 0 {
		level++
	}
	return at(level)
}

// text is the character of a keysym; empty if it is none.
func text(sym uint32) string {
	switch {
	case sym >= 0x20 && sym <= 0x7e, sym >= 0xa0 && sym <= 0xff:
		return string(rune(sym))
	case sym > 0x01000000 && sym <= 0x0110ffff:
		return string(rune(sym - 0x01000000))
	case sym >= 0xffb0 && sym <= 0xffb9:
		return string(rune(sym - 0xffb0 + '0'))
	}
	return ""
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}
