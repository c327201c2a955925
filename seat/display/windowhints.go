package display

import (
	"slices"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// What windows and the window manager tell each other by properties and
// messages, as ICCCM and EWMH define them. Only the part that today's
// applications rely on is here: toolkits and SDL ask a window manager for full
// screen and wait for its answer. Without an answer they use worse ways, or wait
// for a timeout.

// Values of WM_STATE.
const (
	stateWithdrawn = 0
	stateNormal    = 1
)

// announce tells applications that there is a window manager, and what it supports.
func (m *manager) announce() {
	a := &m.atoms
	for _, w := range []xproto.Window{m.root, m.check} {
		m.set(w, a.netSupportingWMCheck, xproto.AtomWindow, uint32(m.check))
	}
	const name = "nearcast"
	xproto.ChangeProperty(m.conn, xproto.PropModeReplace, m.check, a.netWMName, a.utf8String, 8, uint32(len(name)), []byte(name))
	m.set(m.root, a.netSupported, xproto.AtomAtom,
		uint32(a.netSupportingWMCheck), uint32(a.netWMName), uint32(a.netClientList),
		uint32(a.netActiveWindow), uint32(a.netCloseWindow), uint32(a.netNumberOfDesktops),
		uint32(a.netCurrentDesktop), uint32(a.netDesktopGeometry), uint32(a.netWorkarea),
		uint32(a.netFrameExtents), uint32(a.netRequestFrameExtents), uint32(a.netWMDesktop),
		uint32(a.netWMState), uint32(a.netWMStateFullscreen),
		uint32(a.netWMStateMaximizedVert), uint32(a.netWMStateMaximizedHorz),
		uint32(a.netWMWindowType), uint32(a.netWMWindowTypeNormal), uint32(a.netWMWindowTypeDialog),
		uint32(a.netWMWindowTypeUtility), uint32(a.netWMWindowTypeToolbar), uint32(a.netWMWindowTypeMenu),
		uint32(a.netWMWindowTypeSplash), uint32(a.netWMWindowTypeNotification))
	m.set(m.root, a.netNumberOfDesktops, xproto.AtomCardinal, 1)
	m.set(m.root, a.netCurrentDesktop, xproto.AtomCardinal, 0)
	m.tellSize()
	m.set(m.root, a.netActiveWindow, xproto.AtomWindow, 0)
	m.listClients()
}

func (m *manager) listClients() {
	wins := make([]uint32, len(m.clients))
	for i, c := range m.clients {
		wins[i] = uint32(c.win)
	}
	m.set(m.root, m.atoms.netClientList, xproto.AtomWindow, wins...)
}

// setState publishes a window's state. A main window is at least maximized:
// toolkits that draw their own frame and shadow then leave both out.
func (m *manager) setState(c *client) {
	var state []uint32
	if !c.keepsSize() {
		state = append(state, uint32(m.atoms.netWMStateMaximizedVert), uint32(m.atoms.netWMStateMaximizedHorz))
	}
	if c.fullscreen {
		state = append(state, uint32(m.atoms.netWMStateFullscreen))
	}
	m.set(c.win, m.atoms.netWMState, xproto.AtomAtom, state...)
}

// message handles a request that an application makes by a client message.
func (m *manager) message(e xproto.ClientMessageEvent) {
	if e.Format != 32 || len(e.Data.Data32) < 3 {
		return
	}
	if e.Type == m.atoms.netRequestFrameExtents { // comes before the window is mapped
		m.set(e.Window, m.atoms.netFrameExtents, xproto.AtomCardinal, 0, 0, 0, 0)
		return
	}
	c := m.find(e.Window)
	if c == nil {
		return
	}
	switch e.Type {
	case m.atoms.netActiveWindow:
		if c.mapped {
			m.raise(c)
		}
	case m.atoms.netCloseWindow:
		if c.deletes {
			m.tell(c.win, m.atoms.wmDeleteWindow)
		} else {
			xproto.DestroyWindow(m.conn, c.win)
		}
	case m.atoms.netWMState:
		if !slices.Contains(e.Data.Data32[1:3], uint32(m.atoms.netWMStateFullscreen)) {
			return
		}
		const remove, add = 0, 1
		switch e.Data.Data32[0] {
		case remove:
			c.fullscreen = false
		case add:
			c.fullscreen = true
		default: // toggle
			c.fullscreen = !c.fullscreen
		}
		m.setRole(c)
		m.setState(c)
		m.place(c)
		if c.main && c.mapped {
			m.show()
		}
	}
}

// role reports whether a window keeps its size, and whether it can be the app's main
// window. A dialog can, where the app shows no main window that it belongs to: toolkits name a
// window above it that is not there yet, or never is. Qt names the leader of its windows.
func (m *manager) role(w xproto.Window) (dialog, main bool) {
	a := &m.atoms
	above := m.above(w)
	transient := above != 0
	of := m.find(above)
	main = of == nil || !of.main
	for _, t := range m.property(w, a.netWMWindowType) { // the application's first choice first
		switch xproto.Atom(t) {
		case a.netWMWindowTypeNormal:
			return transient, main
		case a.netWMWindowTypeDialog:
			return true, main
		case a.netWMWindowTypeUtility, a.netWMWindowTypeToolbar,
			a.netWMWindowTypeMenu, a.netWMWindowTypeSplash, a.netWMWindowTypeNotification:
			return true, false
		}
	}
	return transient, main
}

// setRole reads the role of a window. One that fills the screen is a main window.
func (m *manager) setRole(c *client) {
	c.dialog, c.main = false, true
	if !c.fullscreen {
		c.dialog, c.main = m.role(c.win)
	}
}

// above is the window that a window belongs to, or 0. The root window does not count: SDL marks
// its borderless main windows as transient for it.
func (m *manager) above(w xproto.Window) xproto.Window {
	above := m.property(w, xproto.AtomWmTransientFor)
	if len(above) == 0 || xproto.Window(above[0]) == m.root {
		return 0
	}
	return xproto.Window(above[0])
}

// readHints reads how a window wants to get the focus, and how it can be closed.
func (m *manager) readHints(c *client) {
	protocols := m.property(c.win, m.atoms.wmProtocols)
	c.takeFocus = slices.Contains(protocols, uint32(m.atoms.wmTakeFocus))
	c.deletes = slices.Contains(protocols, uint32(m.atoms.wmDeleteWindow))
	const inputHint = 1
	hints := m.property(c.win, xproto.AtomWmHints)
	c.noInput = len(hints) > 1 && hints[0]&inputHint != 0 && hints[1] == 0
}

// readSize reads whether a window has one size only, and returns it. A window as
// large as the screen, or larger, gets the screen like any other.
func (m *manager) readSize(c *client) bool {
	const (
		flags, minWidth, minHeight, maxWidth, maxHeight = 0, 5, 6, 7, 8
		minAndMax                                       = 1<<4 | 1<<5
	)
	h := m.property(c.win, xproto.AtomWmNormalHints)
	c.fixed = len(h) > maxHeight && h[flags]&minAndMax == minAndMax &&
		h[minWidth] == h[maxWidth] && h[minHeight] == h[maxHeight] &&
		h[minWidth] > 0 && h[minHeight] > 0 &&
		(h[minWidth] < uint32(m.width) || h[minHeight] < uint32(m.height))
	return c.fixed
}

// property reads a property of 32-bit values; nil if there is none.
func (m *manager) property(w xproto.Window, name xproto.Atom) []uint32 {
	r, err := xproto.GetProperty(m.conn, false, w, name, xproto.GetPropertyTypeAny, 0, 64).Reply()
	if err != nil || r.Format != 32 {
		return nil
	}
	values := make([]uint32, 0, r.ValueLen)
	for b := r.Value; len(b) >= 4; b = b[4:] {
		values = append(values, xgb.Get32(b))
	}
	return values
}

// set writes a property of 32-bit values.
func (m *manager) set(w xproto.Window, name, kind xproto.Atom, values ...uint32) {
	b := make([]byte, 4*len(values))
	for i, v := range values {
		xgb.Put32(b[4*i:], v)
	}
	xproto.ChangeProperty(m.conn, xproto.PropModeReplace, w, name, kind, 32, uint32(len(values)), b)
}

// tell sends a window a message of WM_PROTOCOLS.
func (m *manager) tell(w xproto.Window, protocol xproto.Atom) {
	e := xproto.ClientMessageEvent{
		Format: 32, Window: w, Type: m.atoms.wmProtocols,
		Data: xproto.ClientMessageDataUnionData32New([]uint32{uint32(protocol), xproto.TimeCurrentTime, 0, 0, 0}),
	}
	xproto.SendEvent(m.conn, false, w, xproto.EventMaskNoEvent, string(e.Bytes()))
}
