package display

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// manager is the window manager of a seat. There is one person and one
// application, and no frames, icons or virtual desktops:
//
//   - a main window gets the whole screen, whatever size it asks for. A window
//     that says that it has one size only is centred instead: it would draw into
//     a corner of a larger one;
//   - a dialog (transient, or of a type such as dialog, splash or utility) keeps
//     its size and is centred. A transient one, and one of type dialog, counts as a
//     main window too while the app shows none that it belongs to;
//   - the window that appeared last is on top and has the keyboard. When it goes,
//     the one before gets the keyboard back. A click gives the keyboard to the
//     window that was clicked;
//   - an override-redirect window is left alone, but one that covers the screen
//     gets the keyboard: old games need that;
//   - Alt+F4 closes the window in front;
//   - when the screen's size changes, main windows follow it.
//
// It is our own because a seat must know when its main window covers the screen
// and has the keyboard, so that the first frame and the first key are right. A
// window manager of a distribution does not say so, and would be one more process
// to start, watch and isolate in each seat. With this one, server and window
// manager together start in 49 ms (p50, Xvfb, docs/PERFORMANCE.md).
//
// All its state belongs to the goroutine that reads events.
type manager struct {
	log     *slog.Logger
	display *x11.Client
	conn    *xgb.Conn // of display
	root    xproto.Window
	check   xproto.Window
	width   uint16
	height  uint16
	atoms   atoms

	shown     chan struct{} // closed when there is a main window
	shownOnce sync.Once
	done      chan struct{} // closed when the display is lost
	events    chan xgb.Event

	screens screens
	scale   float64 // of the UI, as applications were told
	serial  uint32  // of what they were told

	changed chan struct{} // see Display.Changed
	viewed  chan struct{} // view was set
	closing chan struct{} // the window in front is to close

	mu      sync.Mutex // of the following
	visible Size
	windows int
	view    *View

	clients []*client     // the last has the focus
	over    xproto.Window // override-redirect window that was given the focus
}

// client is a window under management.
type client struct {
	win        xproto.Window
	dialog     bool
	main       bool // can be the app's main window
	fixed      bool // has one size only, by its WM_NORMAL_HINTS
	fullscreen bool
	mapped     bool
	grabbed    bool // the manager gets its clicks first
	takeFocus  bool
	deletes    bool // can be asked to close, by WM_DELETE_WINDOW
	noInput    bool // does not want its focus set, by its WM_HINTS
}

// keepsSize reports whether a window keeps its size and is centred.
func (c *client) keepsSize() bool { return !c.fullscreen && (c.dialog || c.fixed) }

// maxEvents is how many events may wait for the manager. One is some 100 bytes.
const maxEvents = 1 << 13

func startManager(dial x11.Dialer, cookie x11.Cookie, first View, most limits, log *slog.Logger) (*manager, error) {
	x, err := x11.Dial(dial, cookie)
	if err != nil {
		return nil, err
	}
	screen := xproto.Setup(x.Conn).DefaultScreen(x.Conn)
	m := &manager{
		log: log, display: x, conn: x.Conn, root: screen.Root,
		width: screen.WidthInPixels, height: screen.HeightInPixels,
		shown: make(chan struct{}), done: make(chan struct{}), events: make(chan xgb.Event, maxEvents),
		changed: make(chan struct{}, 1), viewed: make(chan struct{}, 1), closing: make(chan struct{}, 1),
	}
	go m.receive()
	if err := m.setUp(first, most); err != nil {
		m.close()
		for range m.events {
		}
		return nil, errors.Join(err, x.Err())
	}
	go m.run()
	return m, nil
}

func (m *manager) setUp(first View, most limits) error {
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
		[]uint32{0, xproto.EventMaskSubstructureRedirect | xproto.EventMaskSubstructureNotify | xproto.EventMaskStructureNotify, uint32(cursor)}).Check()
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
	m.ownSettings()
	m.setScale(first.Scale)
	if err := m.firstSize(first, most); err != nil {
		return err
	}
	m.grabClose()
	m.announce()
	m.conn.Sync()
	return nil
}

// arrow is the usual pointer, in place of the server's cross.
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

// receive takes events from the library as they come, until the connection ends.
// The library reads no reply while it has an event that it cannot hand over, and
// run may wait for a reply.
func (m *manager) receive() {
	defer close(m.events)
	for {
		ev, err := m.conn.WaitForEvent()
		if ev == nil && err == nil {
			return
		}
		if err != nil {
			// A window can go at any time, so a request about it can fail.
			m.log.Debug("window manager request failed", "error", err)
			continue
		}
		select {
		case m.events <- ev:
		default:
			m.display.HangUp(fmt.Errorf("the display sent more than %d events at a time", maxEvents))
		}
	}
}

// run handles events until the connection ends.
func (m *manager) run() {
	defer close(m.done)
	for {
		select {
		case ev, ok := <-m.events:
			if !ok {
				return
			}
			m.handle(ev)
			m.lookLater()
			m.count()
		case <-m.viewed:
			m.followView()
		case <-m.closing:
			m.closeTop()
		}
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
			if c.main {
				m.show()
			}
		} else if e.OverrideRedirect {
			m.overrides(e.Window)
		}
	case xproto.ConfigureNotifyEvent:
		if e.Window == m.root {
			m.rootChanged(int(e.Width), int(e.Height))
		} else if e.OverrideRedirect && e.Window != m.check {
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
	case xproto.KeyPressEvent: // Alt+F4: nothing else is grabbed
		m.closeTop()
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

// close starts to disconnect; done is closed at its end.
func (m *manager) close() { m.conn.Close() }
