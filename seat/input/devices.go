package input

import (
	"fmt"
	"math"
	"net"
	"time"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

// devices are those that a display has beside XTEST's: a pointer whose wheels turn by any
// fraction of a notch, and a touch screen. Each has a connection of its own, and so has
// XTEST. The server reads them in any order, so a change from one to another waits until
// the server has taken all that was sent (turnTo).
type devices struct {
	wheel, touch *device // nil: there is none
	active       *device // which was used last; nil is XTEST

	rolled time.Time // the last use of wheel; zero after XTEST moved the pointer

	fingers map[uint32]*finger // by the page's number
	last    uint32             // the number of the last finger on the touch screen
	late    uint32             // the number of the last move of fingers
	// width and height of the whole screen, which the touch screen has.
	width, height int
}

// finger is one that touches the screen.
type finger struct {
	number uint32
	x, y   int
}

// AddDevices begins to use devices of the display: a pointer with wheels and a touch
// screen, by the protocol of Xorg's driver "inputtest". Either may be nil. The caller
// closes the connections after the display has ended.
func (in *Injector) AddDevices(wheel, touch *net.UnixConn) (err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if wheel != nil {
		if in.devices.wheel, err = openDevice(wheel); err != nil {
			return fmt.Errorf("open the display's wheel: %w", err)
		}
	}
	if touch != nil {
		if in.devices.touch, err = openDevice(touch); err != nil {
			return fmt.Errorf("open the display's touch screen: %w", err)
		}
	}
	return nil
}

// Touches reports whether the display has a touch screen.
func (in *Injector) Touches() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.devices.touch != nil && !in.devices.touch.lost
}

// turnTo waits until the server has taken all that was sent, before another device is used;
// nil is XTEST.
func (in *Injector) turnTo(to *device) {
	d := &in.devices
	switch {
	case to == d.active:
		return
	case d.active == nil:
		in.conn.Sync()
	default:
		_ = d.active.sync() // a device that is lost delays nothing
	}
	d.active = to
}

// fresh is how long after a turn of the wheel the application still knows where it was.
const fresh = 200 * time.Millisecond

// scroll turns the wheel by parts of a notch, where the display can. An application
// learns how far by the difference to the place that it saw last, which it may not know: at
// first, after another device moved the pointer, or in another window. So it is told the
// place first.
func (in *Injector) scroll(dx, dy float64) bool {
	d := &in.devices
	if d.wheel == nil || d.wheel.lost {
		return false
	}
	in.turnTo(d.wheel)
	if time.Since(d.rolled) > fresh {
		if d.wheel.move(valuator{axisScrollX, 0}, valuator{axisScrollY, 0}) != nil {
			return false
		}
	}
	d.rolled = time.Now()
	var turns []valuator
	if dx != 0 {
		turns = append(turns, valuator{axisScrollX, dx})
	}
	if dy != 0 {
		turns = append(turns, valuator{axisScrollY, dy})
	}
	return d.wheel.move(turns...) == nil
}

// touch plays the fingers on the picture. Without a number they are all that there are;
// with one they only move.
func (in *Injector) touch(m wire.Input) error {
	if len(m.Touches) > wire.MaxTouches {
		return fmt.Errorf("%w: %d fingers, and %d are the most", ErrInput, len(m.Touches), wire.MaxTouches)
	}
	places := make(map[uint32][2]int, len(m.Touches))
	for _, t := range m.Touches {
		x, y, err := in.position(wire.Input{X: t.X, Y: t.Y})
		if err != nil {
			return err
		}
		if _, twice := places[t.ID]; twice {
			return fmt.Errorf("%w: finger %d is there twice", ErrInput, t.ID)
		}
		places[t.ID] = [2]int{int(x), int(y)}
	}
	d := &in.devices
	if d.touch == nil || d.touch.lost {
		return fmt.Errorf("%w: the display has no touch screen", ErrInput)
	}
	if m.N != 0 {
		if d.late != 0 && int32(m.N-d.late) <= 0 {
			return nil
		}
		d.late = m.N
	} else {
		if before := uint32(m.Seq); m.Seq != 0 && int32(before-d.late) > 0 {
			d.late = before
		}
		for id := range d.fingers {
			if _, stays := places[id]; !stays {
				in.liftFinger(id)
			}
		}
	}
	for _, t := range m.Touches { // in the page's order: the first finger is the mouse's, where an application takes no touch
		in.putFinger(t.ID, places[t.ID], m.N == 0)
	}
	return nil
}

// putFinger moves a finger; where it does not touch yet, only begin makes it.
func (in *Injector) putFinger(id uint32, at [2]int, begin bool) {
	d := &in.devices
	f, what := d.fingers[id], uint32(touchUpdate)
	switch {
	case f == nil && !begin, f != nil && f.x == at[0] && f.y == at[1]:
		return
	case f == nil:
		what = touchBegin
		if len(d.fingers) == 0 {
			in.measureScreen()
		}
		d.last++
		f = &finger{number: d.last}
		d.fingers[id] = f
	}
	f.x, f.y = at[0], at[1]
	in.turnTo(d.touch)
	in.absolute, d.rolled = false, time.Time{}
	// The middle of the pixel: a border between two may be rounded either way.
	place := func(axis, pixel, of int) valuator {
		return valuator{axis, math.Min((float64(pixel)+0.5)*touchRange/float64(of), touchRange-1)}
	}
	_ = d.touch.touch(f.number, what, place(axisX, f.x, d.width), place(axisY, f.y, d.height)) // it stays lost
}

func (in *Injector) liftFinger(id uint32) {
	d := &in.devices
	f := d.fingers[id]
	delete(d.fingers, id)
	in.turnTo(d.touch)
	_ = d.touch.touch(f.number, touchEnd)
}

// measureScreen asks for the size of the screen, of which the picture may be a part.
func (in *Injector) measureScreen() {
	d := &in.devices
	d.width, d.height = in.width, in.height
	if g, err := xproto.GetGeometry(in.conn, xproto.Drawable(in.root)).Reply(); err == nil && g.Width > 0 && g.Height > 0 {
		d.width, d.height = int(g.Width), int(g.Height)
	}
}
