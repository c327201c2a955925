package display

import (
	"fmt"
	"image"
	"log/slog"
	"slices"
	"sync"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// manager is the window manager of a seat. There is one person, one
// application, and no frame, icon or desktop:
//
//   - a main window gets the whole screen, whatever size it asks for, unless it
//     says that it has one size only: such an application would draw into a
//     corner of the screen, so its window is centred;
//   - a dialog (transient, or of a type like dialog, splash, utility) keeps its
//     size and is centred;
//   - what appears last is on top and has the keyboard; when it goes, the one
//     before has it again; a click gives it to the window clicked;
//   - an override-redirect window is left alone, but one that covers the screen
//     gets the keyboard, as old games want it.
//
// All state but clients belongs to the goroutine that reads events.
type manager struct {
	log    *slog.Logger
	conn   *xgb.Conn
	root   xproto.Window
	check  xproto.Window
	width  uint16
	height uint16
	atoms  atoms

	shown     chan struct{} // closed when a window covers the screen
	shownOnce sync.Once
	done      chan struct{} // closed when the display is lost

	mu      sync.Mutex
	clients []*client     // the last has the focus
	over    xproto.Window // override-redirect window that was given the focus
}

// client is a window under management.
type client struct {
	win        xproto.Window
	dialog     bool
	fixed      bool // has one size only, by its WM_NORMAL_HINTS
	fullscreen bool
	mapped     bool
	grabbed    bool // clicks come to us first
	takeFocus  bool
	deletes    bool // understands WM_DELETE_WINDOW
	noInput    bool // wants no focus set, by its WM_HINTS
}

// keepsSize reports whether a window is centred, not stretched.
func (c *client) keepsSize() bool { return !c.fullscreen && (c.dialog || c.fixed) }

func startManager(display, authority string, log *slog.Logger) (*manager, error) {
	conn, err := x11.Dial(display, authority)
	if err != nil {
		return nil, err
	}
	screen := xproto.Setup(conn).DefaultScreen(conn)
	m := &manager{
		log: log, conn: conn, root: screen.Root,
		width: screen.WidthInPixels, height: screen.HeightInPixels,
		shown: make(chan struct{}), done: make(chan struct{}),
	}
	if err := m.setUp(); err != nil {
		conn.Close()
		return nil, err
	}
	go m.run()
	return m, nil
}

func (m *manager) setUp() error {
	var err error
	if m.atoms, err = internAtoms(m.conn); err != nil {
		return fmt.Errorf("intern atoms: %w", err)
	}
	cursor, err := m.arrow()
	if err != nil {
		return fmt.Errorf("make cursor: %w", err)
	}
	err = xproto.ChangeWindowAttributesChecked(m.conn, m.root,
		xproto.CwBackPixel|xproto.CwEventMask|xproto.CwCursor,
		[]uint32{0, xproto.EventMaskSubstructureRedirect | xproto.EventMaskSubstructureNotify, uint32(cursor)}).Check()
	if err != nil {
		return fmt.Errorf("take the root window: %w", err)
	}
	xproto.ClearArea(m.conn, false, m.root, 0, 0, 0, 0)

	if m.check, err = xproto.NewWindowId(m.conn); err != nil {
		return err
	}
	err = xproto.CreateWindowChecked(m.conn, 0, m.check, m.root, -1, -1, 1, 1, 0,
		xproto.WindowClassInputOnly, 0, xproto.CwOverrideRedirect, []uint32{1}).Check()
	if err != nil {
		return fmt.Errorf("create check window: %w", err)
	}
	m.announce()
	m.conn.Sync()
	return nil
}

// arrow is the pointer that people know, in place of the server's cross.
func (m *manager) arrow() (xproto.Cursor, error) {
	font, err := xproto.NewFontId(m.conn)
	if err != nil {
		return 0, err
	}
	if err := xproto.OpenFontChecked(m.conn, font, 6, "cursor").Check(); err != nil {
		return 0, err
	}
	defer xproto.CloseFont(m.conn, font)
	cursor, err := xproto.NewCursorId(m.conn)
	if err != nil {
		return 0, err
	}
	const leftPtr = 68
	return cursor, xproto.CreateGlyphCursorChecked(m.conn, cursor, font, font, leftPtr, leftPtr+1,
		0, 0, 0, 0xffff, 0xffff, 0xffff).Check()
}

// run serves events until the connection ends.
func (m *manager) run() {
	defer close(m.done)
	for {
		ev, err := m.conn.WaitForEvent()
		if ev == nil && err == nil {
			return
		}
		if err != nil {
			// Windows vanish at any time: a request about one that is gone is no fault.
			m.log.Debug("window manager", "error", err)
			continue
		}
		m.mu.Lock()
		m.handle(ev)
		m.mu.Unlock()
	}
}

func (m *manager) handle(ev xgb.Event) {
	switch e := ev.(type) {
	case xproto.MapRequestEvent:
		m.manage(e.Window)
	case xproto.ConfigureRequestEvent:
		m.configure(e)
	case xproto.MapNotifyEvent:
		if c := m.find(e.Window); c != nil {
			c.mapped = true
			m.focus(c)
			if !c.dialog {
				m.show()
			}
		} else if e.OverrideRedirect {
			m.overrides(e.Window)
		}
	case xproto.ConfigureNotifyEvent:
		if e.OverrideRedirect && e.Window != m.check {
			m.overrides(e.Window)
		}
	case xproto.UnmapNotifyEvent:
		if e.Event == m.root {
			m.forget(e.Window, true)
		}
	case xproto.DestroyNotifyEvent:
		m.forget(e.Window, false)
	case xproto.ReparentNotifyEvent:
		if e.Parent != m.root {
			m.forget(e.Window, false)
		}
	case xproto.PropertyNotifyEvent:
		c := m.find(e.Window)
		switch {
		case c == nil:
		case e.Atom == m.atoms.wmProtocols, e.Atom == xproto.AtomWmHints:
			m.readHints(c)
		case e.Atom == xproto.AtomWmNormalHints:
			if was := c.fixed; m.readSize(c) != was {
				m.setState(c)
				m.place(c)
			}
		}
	case xproto.ButtonPressEvent:
		if c := m.find(e.Event); c != nil {
			m.focus(c)
		}
		xproto.AllowEvents(m.conn, xproto.AllowReplayPointer, e.Time)
	case xproto.ClientMessageEvent:
		m.message(e)
	}
}

func (m *manager) find(w xproto.Window) *client {
	for _, c := range m.clients {
		if c.win == w {
			return c
		}
	}
	return nil
}

// manage takes a window that wants to be seen.
func (m *manager) manage(w xproto.Window) {
	c := m.find(w)
	if c == nil {
		c = &client{win: w}
		// Below those that are mapped: the focus comes with MapNotify.
		m.clients = slices.Insert(m.clients, 0, c)
		xproto.ChangeWindowAttributes(m.conn, w, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange})
	}
	c.fullscreen = slices.Contains(m.property(w, m.atoms.netWMState), uint32(m.atoms.netWMStateFullscreen))
	c.dialog = !c.fullscreen && m.isDialog(w)
	m.readHints(c)
	m.readSize(c)
	m.place(c)
	m.setState(c)
	m.set(w, m.atoms.wmState, m.atoms.wmState, stateNormal, 0)
	m.set(w, m.atoms.netWMDesktop, xproto.AtomCardinal, 0)
	m.set(w, m.atoms.netFrameExtents, xproto.AtomCardinal, 0, 0, 0, 0)
	xproto.MapWindow(m.conn, w)
	m.listClients()
}

// place gives a window its size and its place on top.
func (m *manager) place(c *client) {
	x, y, w, h := m.geometry(c)
	xproto.ConfigureWindow(m.conn, c.win,
		xproto.ConfigWindowX|xproto.ConfigWindowY|xproto.ConfigWindowWidth|xproto.ConfigWindowHeight|
			xproto.ConfigWindowBorderWidth|xproto.ConfigWindowStackMode,
		[]uint32{uint32(x), uint32(y), uint32(w), uint32(h), 0, xproto.StackModeAbove})
}

// geometry is where a window belongs.
func (m *manager) geometry(c *client) (x, y int16, w, h uint16) {
	if !c.keepsSize() {
		return 0, 0, m.width, m.height
	}
	g, err := xproto.GetGeometry(m.conn, xproto.Drawable(c.win)).Reply()
	if err != nil {
		return 0, 0, 1, 1 // gone
	}
	return m.centre(g.Width, g.Height)
}

func (m *manager) centre(w, h uint16) (int16, int16, uint16, uint16) {
	w, h = min(max(w, 1), m.width), min(max(h, 1), m.height)
	return int16((m.width - w) / 2), int16((m.height - h) / 2), w, h
}

// configure answers a window that wants another size, place or level.
func (m *manager) configure(e xproto.ConfigureRequestEvent) {
	c := m.find(e.Window)
	if c == nil {
		m.grant(e)
		return
	}
	if c.keepsSize() && e.ValueMask&(xproto.ConfigWindowWidth|xproto.ConfigWindowHeight) != 0 {
		x, y, w, h := m.centre(e.Width, e.Height)
		xproto.ConfigureWindow(m.conn, c.win,
			xproto.ConfigWindowX|xproto.ConfigWindowY|xproto.ConfigWindowWidth|xproto.ConfigWindowHeight,
			[]uint32{uint32(x), uint32(y), uint32(w), uint32(h)})
	}
	if e.ValueMask&xproto.ConfigWindowStackMode != 0 && e.StackMode == xproto.StackModeAbove && c.mapped {
		m.raise(c)
	}
	// The convention: who gets no real change is told by a synthetic event
	// where it is, or it may wait for one.
	g, err := xproto.GetGeometry(m.conn, xproto.Drawable(c.win)).Reply()
	if err != nil {
		return
	}
	n := xproto.ConfigureNotifyEvent{Event: c.win, Window: c.win, X: g.X, Y: g.Y, Width: g.Width, Height: g.Height}
	xproto.SendEvent(m.conn, false, c.win, xproto.EventMaskStructureNotify, string(n.Bytes()))
}

// grant does as a window asks that is not seen yet.
func (m *manager) grant(e xproto.ConfigureRequestEvent) {
	var values []uint32
	for _, v := range []struct {
		bit   uint16
		value uint32
	}{
		{xproto.ConfigWindowX, uint32(e.X)},
		{xproto.ConfigWindowY, uint32(e.Y)},
		{xproto.ConfigWindowWidth, uint32(e.Width)},
		{xproto.ConfigWindowHeight, uint32(e.Height)},
		{xproto.ConfigWindowBorderWidth, uint32(e.BorderWidth)},
		{xproto.ConfigWindowSibling, uint32(e.Sibling)},
		{xproto.ConfigWindowStackMode, uint32(e.StackMode)},
	} {
		if e.ValueMask&v.bit != 0 {
			values = append(values, v.value)
		}
	}
	xproto.ConfigureWindow(m.conn, e.Window, e.ValueMask, values)
}

// raise brings a window to the top and gives it the keyboard.
func (m *manager) raise(c *client) {
	xproto.ConfigureWindow(m.conn, c.win, xproto.ConfigWindowStackMode, []uint32{xproto.StackModeAbove})
	m.focus(c)
}

// focus gives a mapped window the keyboard.
func (m *manager) focus(c *client) {
	if i := slices.Index(m.clients, c); i >= 0 {
		m.clients = append(slices.Delete(m.clients, i, i+1), c)
	}
	for _, other := range m.clients {
		m.grabClicks(other, other != c)
	}
	// A window that neither wants the focus set nor promises to take it would
	// never get a key: it gets the focus anyway, since there is nobody else.
	if !c.noInput || !c.takeFocus {
		xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, c.win, xproto.TimeCurrentTime)
	}
	if c.takeFocus {
		m.tell(c.win, m.atoms.wmTakeFocus)
	}
	m.set(m.root, m.atoms.netActiveWindow, xproto.AtomWindow, uint32(c.win))
	m.listClients()
}

// grabClicks makes the first click on a window without focus come here, to be
// passed on once the window has it.
func (m *manager) grabClicks(c *client, on bool) {
	if c.grabbed == on {
		return
	}
	c.grabbed = on
	if !on {
		xproto.UngrabButton(m.conn, xproto.ButtonIndexAny, c.win, xproto.ModMaskAny)
		return
	}
	xproto.GrabButton(m.conn, true, c.win, xproto.EventMaskButtonPress,
		xproto.GrabModeSync, xproto.GrabModeAsync, 0, 0, xproto.ButtonIndexAny, xproto.ModMaskAny)
}

// overrides looks at a window that manages itself.
func (m *manager) overrides(w xproto.Window) {
	a, err := xproto.GetWindowAttributes(m.conn, w).Reply()
	if err != nil || a.MapState != xproto.MapStateViewable || a.Class == xproto.WindowClassInputOnly {
		return
	}
	g, err := xproto.GetGeometry(m.conn, xproto.Drawable(w)).Reply()
	if err != nil || g.X > 0 || g.Y > 0 ||
		int(g.X)+int(g.Width) < int(m.width) || int(g.Y)+int(g.Height) < int(m.height) {
		return
	}
	if m.over != w {
		m.over = w
		xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, w, xproto.TimeCurrentTime)
	}
	m.show()
}

// forget drops a window that is gone or hidden; the one before gets the keyboard.
func (m *manager) forget(w xproto.Window, alive bool) {
	i := slices.IndexFunc(m.clients, func(c *client) bool { return c.win == w })
	if i < 0 && w != m.over {
		return // a menu, a tooltip
	}
	m.over = 0
	if i >= 0 {
		if alive {
			m.grabClicks(m.clients[i], false)
			m.set(w, m.atoms.wmState, m.atoms.wmState, stateWithdrawn, 0)
			xproto.DeleteProperty(m.conn, w, m.atoms.netWMState)
		}
		m.clients = slices.Delete(m.clients, i, i+1)
		m.listClients()
	}
	for i := len(m.clients) - 1; i >= 0; i-- {
		if m.clients[i].mapped {
			m.focus(m.clients[i])
			return
		}
	}
	xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, xproto.InputFocusPointerRoot, xproto.TimeCurrentTime)
	m.set(m.root, m.atoms.netActiveWindow, xproto.AtomWindow, 0)
}

// show says that there is a window, once the server has done all that was asked for
// it: keys come by another connection, and the first must find the focus set.
func (m *manager) show() {
	m.shownOnce.Do(func() {
		_, _ = xproto.GetInputFocus(m.conn).Reply() // without a display there is no focus either
		close(m.shown)
	})
}

func (m *manager) requestClose() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.clients {
		if c.deletes {
			m.tell(c.win, m.atoms.wmDeleteWindow)
		}
	}
	return nil
}

func (m *manager) screenshot() (image.Image, error) {
	r, err := xproto.GetImage(m.conn, xproto.ImageFormatZPixmap, xproto.Drawable(m.root),
		0, 0, m.width, m.height, 0xffffffff).Reply()
	if err != nil {
		return nil, fmt.Errorf("get image: %w", err)
	}
	img := image.NewRGBA(image.Rect(0, 0, int(m.width), int(m.height)))
	if len(r.Data) < len(img.Pix) {
		return nil, fmt.Errorf("get image: %d bytes for %dx%d pixels", len(r.Data), m.width, m.height)
	}
	for i := 0; i < len(img.Pix); i += 4 {
		img.Pix[i], img.Pix[i+1], img.Pix[i+2], img.Pix[i+3] = r.Data[i+2], r.Data[i+1], r.Data[i], 0xff
	}
	return img, nil
}

// close begins to disconnect; done is closed when it is over.
func (m *manager) close() { m.conn.Close() }
