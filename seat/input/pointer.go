package input

import (
	"fmt"
	"math"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

// Limits that real input does not reach.
const (
	maxMove  = 10000     // pixels in one relative motion
	maxWheel = 100 * 120 // 120ths of a notch in one message
)

// notch is one click of a wheel, in the wire's unit.
const notch = 120

// buttons maps MouseEvent.button to X buttons; 4 to 7 are the wheel.
var buttons = [...]byte{1, 2, 3, 8, 9}

// late reports whether a later move came before this one. Numbers may wrap.
func (in *Injector) late(n uint32) bool {
	if n == 0 {
		return false // it has no number
	}
	if in.lastMove != 0 && int32(n-in.lastMove) <= 0 {
		return true
	}
	in.lastMove = n
	return false
}

// position is the pixel at a position in the picture.
func (in *Injector) position(m wire.Input) (x, y int16, err error) {
	// Written so that NaN fails too.
	if !(m.X >= 0 && m.X <= 1 && m.Y >= 0 && m.Y <= 1) {
		return 0, 0, fmt.Errorf("%w: position %v,%v must be within 0 to 1", ErrInput, m.X, m.Y)
	}
	px := min(int(m.X*float64(in.width)), in.width-1)
	py := min(int(m.Y*float64(in.height)), in.height-1)
	return int16(px), int16(py), nil
}

func (in *Injector) move(m wire.Input) error {
	x, y, err := in.position(m)
	if err != nil {
		return err
	}
	if in.late(m.N) {
		return nil
	}
	if !in.relative {
		in.moveTo(x, y)
	}
	return nil
}

// Details of a motion in XTEST.
const (
	motionAbsolute = 0
	motionRelative = 1
)

func (in *Injector) moveTo(x, y int16) {
	if in.hidden && !in.relative {
		// An application that reads motion would take a position for one.
		if q, err := xproto.QueryPointer(in.conn, in.root).Reply(); err == nil {
			if in.absolute && (q.RootX != in.atX || q.RootY != in.atY) {
				in.setRelative(true)
				return
			}
			in.absolute, in.atX, in.atY = true, x, y
			if q.RootX != x || q.RootY != y {
				in.fake(xproto.MotionNotify, motionRelative, x-q.RootX, y-q.RootY)
			}
			return
		}
	}
	in.absolute, in.atX, in.atY = true, x, y
	in.fake(xproto.MotionNotify, motionAbsolute, x, y)
}

func (in *Injector) rel(m wire.Input) error {
	if !(math.Abs(m.DX) <= maxMove && math.Abs(m.DY) <= maxMove) {
		return fmt.Errorf("%w: motion by %v,%v exceeds %v pixels", ErrInput, m.DX, m.DY, maxMove)
	}
	if in.late(m.N) {
		return nil
	}
	x, y := m.DX, m.DY
	if m.Sum != nil {
		former := in.sum
		in.sum = m.Sum
		// More is missing only where nothing went through for seconds: that is not made good.
		if former != nil && math.Abs(m.Sum[0]-former[0]) <= maxMove && math.Abs(m.Sum[1]-former[1]) <= maxMove {
			x, y = m.Sum[0]-former[0], m.Sum[1]-former[1]
		}
	}
	in.absolute = false
	var dx, dy int
	dx, in.relX = whole(in.relX + x)
	dy, in.relY = whole(in.relY + y)
	if dx != 0 || dy != 0 {
		in.fake(xproto.MotionNotify, motionRelative, int16(dx), int16(dy))
	}
	return nil
}

// whole splits a number into its integer part and the rest.
func whole(v float64) (int, float64) {
	i := math.Trunc(v)
	return int(i), v - i
}

// moveAlong moves to where a button or wheel was used. With relative motion there
// is no such position; then the message has 0,0.
func (in *Injector) moveAlong(m wire.Input) error {
	x, y, err := in.position(m)
	if err != nil {
		return err
	}
	if in.relative || !in.absolute && m.X == 0 && m.Y == 0 {
		return nil
	}
	if m.Type == wire.InputWheel && in.devices.wheel != nil {
		if t := in.devices.touch; t != nil && in.devices.active == t {
			in.turnTo(nil) // else the answer may be from before the touches
		}
		// A motion to where the pointer is would change the device for nothing.
		if q, err := xproto.QueryPointer(in.conn, in.root).Reply(); err == nil && q.RootX == x && q.RootY == y {
			return nil
		}
	}
	in.moveTo(x, y)
	return nil
}

func (in *Injector) button(m wire.Input) error {
	if m.Button < 0 || m.Button >= len(buttons) {
		return fmt.Errorf("%w: unknown button %d", ErrInput, m.Button)
	}
	b, down := buttons[m.Button], m.Type == wire.InputDown
	// The motion before it may be lost, or still on its way.
	if m.Sum != nil && m.N != 0 && (in.relative || in.onRelative == nil) {
		if err := in.rel(wire.Input{N: m.N, Sum: m.Sum}); err != nil {
			return err
		}
	}
	if err := in.moveAlong(m); err != nil {
		return err
	}
	if m.Sum == nil {
		in.late(m.N) // moves from before it may come after it
	}
	switch {
	case down == in.buttons[b]: // pressed or released already
	case down:
		in.buttons[b] = true
		in.fake(xproto.ButtonPress, b, 0, 0)
	default:
		delete(in.buttons, b)
		in.fake(xproto.ButtonRelease, b, 0, 0)
	}
	return nil
}

func (in *Injector) wheel(m wire.Input) error {
	if !(math.Abs(m.DX) <= maxWheel && math.Abs(m.DY) <= maxWheel) {
		return fmt.Errorf("%w: wheel by %v,%v exceeds %v", ErrInput, m.DX, m.DY, maxWheel)
	}
	if err := in.moveAlong(m); err != nil {
		return err
	}
	if in.scroll(m.DX, m.DY) {
		return nil
	}
	in.wheelY = in.roll(in.wheelY, m.DY, 4, 5)
	in.wheelX = in.roll(in.wheelX, m.DX, 6, 7)
	return nil
}

// roll clicks for each whole notch and returns the rest.
func (in *Injector) roll(rest, by float64, back, forth byte) float64 {
	if rest*by < 0 {
		rest = 0 // the direction changed
	}
	rest += by
	for ; math.Abs(rest) >= notch; rest -= math.Copysign(notch, rest) {
		b := forth
		if rest < 0 {
			b = back
		}
		in.fake(xproto.ButtonPress, b, 0, 0)
		in.fake(xproto.ButtonRelease, b, 0, 0)
	}
	return rest
}
