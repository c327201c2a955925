package display

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// The screen has three sizes. The server's is the most that it can ever have. The root
// window's is what clients draw on; it changes by RANDR, at the wish of the application
// or of SetView. What is visible is the root window, or the part of it that the one
// monitor shows: games that change only the monitor's mode expect that.

// dpi is the density of a screen whose UI scale is 1.
const dpi = 96

// usualModes are sizes that applications look for when they choose a full-screen mode.
var usualModes = [][2]int{
	{640, 480}, {800, 600}, {1024, 768}, {1280, 720}, {1280, 1024}, {1600, 900}, {1920, 1080}, {2560, 1440}, {3840, 2160},
}

// Size is a width and a height in pixels.
type Size struct{ Width, Height int }

// limits are what a screen may become.
type limits struct {
	Size       // zero is the first one
	usual bool // it gets the usual modes: a driver of Xorg has those of its GPU
}

// screens is what the window manager knows of the screen's sizes.
type screens struct {
	randr *x11.RandR // nil: the server cannot change its screen
	most  Size       // of the server
	root  Size
	crtc  Size      // of what the monitor shows; zero while it shows nothing
	own   Size      // that the window manager made
	made  [2]uint32 // an output, and the mode that the window manager made for it
	later *View     // waits until an application leaves its own full-screen mode
}

// openScreens finds out what the server can do, and makes the usual modes.
func (m *manager) openScreens(most limits) error {
	s := &m.screens
	s.root = Size{int(m.width), int(m.height)}
	s.most, s.own = s.root, s.root
	if most.Width*most.Height > 0 {
		s.most = Size{min(most.Width, s.root.Width), min(most.Height, s.root.Height)}
	}
	r, err := m.display.RandR(m.root)
	if errors.Is(err, x11.ErrNoRandR) {
		return nil
	} else if err != nil {
		return err
	}
	s.randr = r
	res, crtc, err := m.monitor()
	if err != nil || len(res.Outputs) == 0 {
		return err
	}
	s.crtc = Size{crtc.Width, crtc.Height}
	if !most.usual {
		return nil
	}
	for _, size := range usualModes {
		if size[0] > s.root.Width || size[1] > s.root.Height || hasMode(res, size[0], size[1]) != 0 {
			continue
		}
		if _, err := r.AddMode(res.Outputs[0], size[0], size[1]); err != nil {
			return fmt.Errorf("make a mode: %w", err)
		}
	}
	return nil
}

// firstSize gives a server that can have a larger screen the first size.
func (m *manager) firstSize(first View, most limits) error {
	if err := m.openScreens(most); err != nil {
		return fmt.Errorf("ask for the sizes of the screen: %w", err)
	}
	s := &m.screens
	s.own = first.Size
	if first.Size != s.root {
		if err := m.setScreen(first.Size, density(first.Scale)); err != nil {
			return wrongSize(s.root, first.Size, err)
		}
		s.root, s.crtc = first.Size, first.Size
		m.width, m.height = uint16(first.Width), uint16(first.Height)
	}
	m.visible = m.size()
	return nil
}

// monitor asks what the one monitor shows.
func (m *manager) monitor() (res x11.Resources, crtc x11.CRTC, err error) {
	if res, err = m.screens.randr.Resources(); err != nil || len(res.CRTCs) == 0 {
		return res, crtc, err
	}
	crtc, err = m.screens.randr.CRTC(res.CRTCs[0], res.Stamp)
	return res, crtc, err
}

func hasMode(res x11.Resources, width, height int) (id uint32) {
	i := slices.IndexFunc(res.Modes, func(mode x11.Mode) bool { return mode.Width == width && mode.Height == height })
	if i < 0 {
		return 0
	}
	return res.Modes[i].ID
}

// setScreen makes the screen this large. Where that fails it is as before.
func (m *manager) setScreen(to Size, density int) error {
	s := &m.screens
	if s.randr == nil {
		return x11.ErrNoRandR
	}
	// Nobody may see a screen without a monitor.
	xproto.GrabServer(m.conn)
	defer xproto.UngrabServer(m.conn)
	res, crtc, err := m.monitor()
	if err != nil {
		return err
	}
	if len(res.CRTCs) == 0 || len(res.Outputs) == 0 {
		return errors.New("the display has no monitor")
	}
	show := func(mode uint32) error {
		return s.randr.SetCRTC(res.CRTCs[0], res.Stamp, mode, res.Outputs[:min(len(res.Outputs), int(min(mode, 1)))])
	}
	restore := func() {
		_ = s.randr.SetScreenSize(s.root.Width, s.root.Height, density)
		_ = show(crtc.Mode)
	}
	if crtc.Mode != 0 {
		if err := show(0); err != nil {
			return err
		}
	}
	if err := s.randr.SetScreenSize(to.Width, to.Height, density); err != nil {
		restore()
		return err
	}
	mode, before := hasMode(res, to.Width, to.Height), s.made
	if mode == 0 {
		if mode, err = s.randr.AddMode(res.Outputs[0], to.Width, to.Height); err != nil {
			restore()
			return err
		}
		s.made = [2]uint32{res.Outputs[0], mode}
	}
	if err := show(mode); err != nil {
		restore()
		return err
	}
	if before != s.made && before[1] != 0 {
		if err := s.randr.DropMode(before[0], before[1]); err != nil {
			m.log.Debug("drop a mode of the display", "error", err)
		}
	}
	return nil
}

// rootChanged takes that the root window's size or the monitor's mode changed.
func (m *manager) rootChanged(width, height int) {
	s := &m.screens
	if width < 1 || height < 1 || width > 1<<15-1 || height > 1<<15-1 {
		return
	}
	visible := Size{width, height}
	if s.randr != nil {
		before := s.crtc
		if _, crtc, err := m.monitor(); err == nil {
			s.crtc = Size{crtc.Width, crtc.Height}
			// A monitor that shows less than a screen of the same size as before: the
			// application changed its mode, and expects to fill it.
			part := s.crtc.Width < width || s.crtc.Height < height
			if s.root == visible && crtc.Mode != 0 && part && crtc.X == 0 && crtc.Y == 0 && (s.crtc != before || m.size() == s.crtc) {
				visible = s.crtc
			}
		}
	}
	s.root = Size{width, height}
	if visible == m.size() {
		return
	}
	m.log.Info("the screen has another size", "width", visible.Width, "height", visible.Height)
	m.width, m.height = uint16(visible.Width), uint16(visible.Height)
	m.tellSize()
	for _, c := range m.clients {
		m.readSize(c)
		m.setState(c)
		m.fit(c)
	}
	m.sized()
}

func (m *manager) size() Size { return Size{int(m.width), int(m.height)} }

// tellSize tells applications how large the screen is.
func (m *manager) tellSize() {
	a := &m.atoms
	m.set(m.root, a.netDesktopGeometry, xproto.AtomCardinal, uint32(m.width), uint32(m.height))
	m.set(m.root, a.netWorkarea, xproto.AtomCardinal, 0, 0, uint32(m.width), uint32(m.height))
}

// fit gives a window the place that it has on a screen of another size.
func (m *manager) fit(c *client) {
	x, y, w, h := m.geometry(c)
	xproto.ConfigureWindow(m.conn, c.win,
		xproto.ConfigWindowX|xproto.ConfigWindowY|xproto.ConfigWindowWidth|xproto.ConfigWindowHeight,
		[]uint32{uint32(x), uint32(y), uint32(w), uint32(h)})
}

// sized tells the display's owner the size.
func (m *manager) sized() {
	m.mu.Lock()
	m.visible = m.size()
	m.mu.Unlock()
	m.signal()
}

// Size is the size of what is visible.
func (d *Display) Size() Size {
	d.wm.mu.Lock()
	defer d.wm.mu.Unlock()
	return d.wm.visible
}

// Changed has an element after Size or Windows changed.
func (d *Display) Changed() <-chan struct{} { return d.wm.changed }

// View is what a person's window is like.
type View struct {
	Size
	// Scale is how large the UI of applications should be: 1 is for a screen of 96 dpi.
	Scale float64
}

// SetView makes the screen this large, as far as the server can, and tells applications
// how large to draw. An application that is in a full-screen mode of its own choice keeps
// that, and the screen follows later. It does not wait.
func (d *Display) SetView(v View) {
	m := d.wm
	m.mu.Lock()
	m.view = &v
	m.mu.Unlock()
	select {
	case m.viewed <- struct{}{}:
	default:
	}
}

// followView carries out the last SetView.
func (m *manager) followView() {
	m.mu.Lock()
	v := m.view
	m.view = nil
	m.mu.Unlock()
	if v == nil {
		return
	}
	s := &m.screens
	if s.later = nil; m.size() != s.own && m.ownFullscreen() {
		s.later = v
		return
	}
	m.showView(*v)
}

func (m *manager) showView(v View) {
	s := &m.screens
	v.Width, v.Height = min(v.Width, s.most.Width), min(v.Height, s.most.Height)
	m.setScale(v.Scale)
	if v.Size == m.size() && v.Size == s.root {
		s.own = v.Size
		return
	}
	if err := m.setScreen(v.Size, density(v.Scale)); err != nil {
		m.log.Warn("the display does not follow the person's window", "width", v.Width, "height", v.Height, "error", err)
		return
	}
	s.own = v.Size
}

// lookLater carries out what waited for an application to leave its full screen.
func (m *manager) lookLater() {
	s := &m.screens
	if v := s.later; v != nil && (m.size() == s.own || !m.ownFullscreen()) {
		s.later = nil
		m.showView(*v)
	}
}

// ownFullscreen reports whether the window in front fills the screen by its own wish.
func (m *manager) ownFullscreen() bool {
	top := m.top()
	return m.over != 0 || top != nil && top.fullscreen
}

// top is the window in front; nil if there is none.
func (m *manager) top() *client {
	for _, c := range slices.Backward(m.clients) {
		if c.mapped {
			return c
		}
	}
	return nil
}

// density is the screen's dots per inch at a UI scale.
func density(scale float64) int { return int(dpi*max(scale, 1) + 0.5) }

// wrongSize says that the server has a screen of another size than was asked for. A
// driver may follow a monitor that it found instead of the configuration.
func wrongSize(got, want Size, err error) error {
	return fmt.Errorf("it made a screen of %dx%d instead of %dx%d: if a monitor at the GPU is the reason, set a driver option that ignores it (%w)",
		got.Width, got.Height, want.Width, want.Height, err)
}
