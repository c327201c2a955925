package display

import (
	"slices"

	"github.com/jezek/xgb/xproto"
)

// maxClients bounds the windows under management. More are shown, and left alone.
const maxClients = 1000

// manage handles a window that asks to be mapped.
func (m *manager) manage(w xproto.Window) {
	c := m.find(w)
	if c == nil {
		if len(m.clients) >= maxClients {
			xproto.MapWindow(m.conn, w)
			return
		}
		c = &client{win: w}
		// Below those that are mapped: it gets the focus with MapNotify.
		m.clients = slices.Insert(m.clients, 0, c)
		xproto.ChangeWindowAttributes(m.conn, w, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange})
	}
	c.fullscreen = slices.Contains(m.property(w, m.atoms.netWMState), uint32(m.atoms.netWMStateFullscreen))
	m.setRole(c)
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

// place gives a window its size and position, on top of the others.
func (m *manager) place(c *client) {
	x, y, w, h := m.geometry(c)
	xproto.ConfigureWindow(m.conn, c.win,
		xproto.ConfigWindowX|xproto.ConfigWindowY|xproto.ConfigWindowWidth|xproto.ConfigWindowHeight|
			xproto.ConfigWindowBorderWidth|xproto.ConfigWindowStackMode,
		[]uint32{uint32(x), uint32(y), uint32(w), uint32(h), 0, xproto.StackModeAbove})
}

// geometry is the position and size that a window should have.
func (m *manager) geometry(c *client) (x, y int16, w, h uint16) {
	if !c.keepsSize() {
		return 0, 0, m.width, m.height
	}
	g, err := xproto.GetGeometry(m.conn, xproto.Drawable(c.win)).Reply()
	if err != nil {
		return 0, 0, 1, 1 // the window is gone
	}
	return m.centre(g.Width, g.Height)
}

func (m *manager) centre(w, h uint16) (int16, int16, uint16, uint16) {
	w, h = min(max(w, 1), m.width), min(max(h, 1), m.height)
	return int16((m.width - w) / 2), int16((m.height - h) / 2), w, h
}

// configure answers a window that asks for another size, position or level.
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
	// By convention (ICCCM 4.1.5), a window whose geometry does not change gets a
	// synthetic event that says where it is. It may wait for one.
	g, err := xproto.GetGeometry(m.conn, xproto.Drawable(c.win)).Reply()
	if err != nil {
		return
	}
	n := xproto.ConfigureNotifyEvent{Event: c.win, Window: c.win, X: g.X, Y: g.Y, Width: g.Width, Height: g.Height}
	xproto.SendEvent(m.conn, false, c.win, xproto.EventMaskStructureNotify, string(n.Bytes()))
}

// grant gives a window that is not managed yet what it asks for.
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
