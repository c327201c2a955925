package display

import "github.com/jezek/xgb/xproto"

// A person closes windows as at home: by Alt+F4, which the window manager takes before
// the application sees it, and by a button of their page. The window below comes back.

// keyF4 is the place of the key on every keyboard.
const keyF4 = 70

// grabClose makes Alt+F4 come here, whichever locks are on.
func (m *manager) grabClose() {
	const capsLock, numLock = xproto.ModMaskLock, xproto.ModMask2
	for _, locks := range []uint16{0, capsLock, numLock, capsLock | numLock} {
		xproto.GrabKey(m.conn, true, m.root, xproto.ModMask1|locks, keyF4, xproto.GrabModeAsync, xproto.GrabModeAsync)
	}
}

// closeTop asks the window in front to close.
func (m *manager) closeTop() {
	if c := m.top(); c != nil {
		m.ask(c)
	}
}

// ask asks a window to close. One that cannot be asked is gone at once.
func (m *manager) ask(c *client) {
	if c.deletes {
		m.tell(c.win, m.atoms.wmDeleteWindow)
	} else {
		xproto.DestroyWindow(m.conn, c.win)
	}
}

// count tells the display's owner how many windows can be closed.
func (m *manager) count() {
	n := 0
	for _, c := range m.clients {
		if c.mapped {
			n++
		}
	}
	m.mu.Lock()
	same := m.windows == n
	m.windows = n
	m.mu.Unlock()
	if !same {
		m.signal()
	}
}

// signal says that Size or Windows changed.
func (m *manager) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Windows is how many windows a person can close one after the other.
func (d *Display) Windows() int {
	d.wm.mu.Lock()
	defer d.wm.mu.Unlock()
	return d.wm.windows
}

// CloseWindow asks the window in front to close, as Alt+F4 does. It does not wait.
func (d *Display) CloseWindow() {
	select {
	case d.wm.closing <- struct{}{}:
	default: // it is being asked
	}
}
