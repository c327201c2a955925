package display

import (
	"slices"

	"github.com/jezek/xgb/xproto"
)

// raise puts a window on top and gives it the keyboard.
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
	// A window that does not want its focus set, and does not take it by itself
	// either, would never get a key. It gets the focus anyway.
	if !c.noInput || !c.takeFocus {
		xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, c.win, xproto.TimeCurrentTime)
	}
	if c.takeFocus {
		m.tell(c.win, m.atoms.wmTakeFocus)
	}
	m.set(m.root, m.atoms.netActiveWindow, xproto.AtomWindow, uint32(c.win))
	m.listClients()
}

// grabClicks makes the first click on a window without focus come here. The click
// is passed on when the window has the focus.
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

// covers reports whether a window is seen on the whole screen.
func (m *manager) covers(w xproto.Window) bool {
	a, err := xproto.GetWindowAttributes(m.conn, w).Reply()
	if err != nil || a.MapState != xproto.MapStateViewable || a.Class == xproto.WindowClassInputOnly {
		return false
	}
	g, err := xproto.GetGeometry(m.conn, xproto.Drawable(w)).Reply()
	return err == nil && g.X <= 0 && g.Y <= 0 &&
		int(g.X)+int(g.Width) >= int(m.width) && int(g.Y)+int(g.Height) >= int(m.height)
}

// overrides focuses an override-redirect window that covers the screen. When it does not any
// more, the window before has the keyboard again.
func (m *manager) overrides(w xproto.Window) {
	if !m.covers(w) {
		if w == m.over {
			m.over = 0
			m.focusTop()
		}
		return
	}
	if m.over != w {
		m.over = w
		xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, w, xproto.TimeCurrentTime)
	}
	m.show()
}

// forget drops a window that is gone or hidden, and focuses the one before.
// A hidden one is alive: it can be mapped again.
func (m *manager) forget(w xproto.Window, alive bool) {
	i := slices.IndexFunc(m.clients, func(c *client) bool { return c.win == w })
	if i < 0 && w != m.over {
		return // a menu or a tooltip
	}
	if w == m.over {
		m.over = 0
	}
	if i >= 0 {
		if alive {
			m.grabClicks(m.clients[i], false)
			m.set(w, m.atoms.wmState, m.atoms.wmState, stateWithdrawn, 0)
			xproto.DeleteProperty(m.conn, w, m.atoms.netWMState)
		}
		m.clients = slices.Delete(m.clients, i, i+1)
		m.listClients()
	}
	if m.over != 0 { // it still covers the screen
		xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, m.over, xproto.TimeCurrentTime)
		return
	}
	m.focusTop()
}

// focusTop gives the keyboard to the last window that is mapped, if there is one.
func (m *manager) focusTop() {
	for i := len(m.clients) - 1; i >= 0; i-- {
		if m.clients[i].mapped {
			m.focus(m.clients[i])
			return
		}
	}
	xproto.SetInputFocus(m.conn, xproto.InputFocusPointerRoot, xproto.InputFocusPointerRoot, xproto.TimeCurrentTime)
	m.set(m.root, m.atoms.netActiveWindow, xproto.AtomWindow, 0)
}

// show announces the main window, after the server has done all that was requested
// for it: keys come by another connection, and the first must find the focus set.
func (m *manager) show() {
	m.shownOnce.Do(func() {
		_, _ = xproto.GetInputFocus(m.conn).Reply() // an error means that the display is gone
		close(m.shown)
	})
}
