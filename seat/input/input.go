// Package input puts a person's hands on a display: it plays wire.Input
// through the XTEST extension, which applications cannot tell from a real mouse
// and keyboard.
//
//	in, err := input.Open(":7", "/alloc/7f/auth/Xauthority", 1280, 720)
//	…
//	in.Apply(wire.Input{Type: wire.InputKey, Code: "KeyQ", Key: "q", Pressed: true})
//	in.Apply(wire.Input{Type: wire.InputKey, Code: "KeyQ", Key: "q"})
//	…
//	in.ReleaseAll() // whenever the person is gone
//
// # Keys
//
// A browser says of a key where it is (code) and what it means to this person
// (key). The seat's keyboard has a US layout. A key that means a character is
// played so that the application gets this character: by the key at its place if
// that has it, else by the key of the layout that has it, else by a spare key
// that is given the character for the occasion. So a person types on the layout
// she has, whatever it is. A key without a character is played by its place. For
// an application that knows keys by their place, as most games do, PreferPlace
// turns this around.
//
// Locks follow the person's: where her Caps Lock or Num Lock differs from the
// display's, the display's is turned first.
//
// # Mistakes
//
// What cannot be is refused with ErrInput and has no effect. What is held is
// known, so each release is of the key that was pressed even when its meaning
// has changed meanwhile, a second press of a held key is no press (the display
// repeats by itself), and ReleaseAll forgets nothing.
package input

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

var (
	// ErrInput is wrapped by errors about a message that makes no sense; the
	// display is well.
	ErrInput = errors.New("bad input")
	// ErrClosed is returned when the display is gone or Close was called.
	ErrClosed = errors.New("display connection closed")
)

// What no hand does.
const (
	maxMove    = 10000     // pixels in one relative motion
	maxWheel   = 100 * 120 // 120ths of a notch in one message
	maxKeyText = 32        // bytes of code or key
)

// notch is one click of a wheel, in the wire's unit.
const notch = 120

// buttons maps MouseEvent.button to X buttons; 4 to 7 are the wheel.
var buttons = [...]byte{1, 2, 3, 8, 9}

// Injector plays wire.Input on a display. It is safe for concurrent use.
type Injector struct {
	conn          *xgb.Conn
	root          xproto.Window
	width, height int
	gone          chan struct{} // closed when the connection is

	mu       sync.Mutex
	keys     keymap
	byPlace  bool
	held     map[string]xproto.Keycode // by code, or key where there is none
	pressed  map[xproto.Keycode]int    // how many of held it stands for
	buttons  map[byte]bool
	absolute bool // the last motion was to a position
	lastMove uint32
	relX     float64 // motion of less than a pixel, to be made up
	relY     float64
	wheelX   float64 // less than a notch
	wheelY   float64
}

// Open connects to a display of the given size. The authority is the path of
// its cookie file.
func Open(display, xauthority string, width, height int) (*Injector, error) {
	if width < 1 || height < 1 {
		return nil, fmt.Errorf("open input: display size %dx%d", width, height)
	}
	conn, err := x11.Dial(display, xauthority)
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	in := &Injector{
		conn: conn, root: xproto.Setup(conn).DefaultScreen(conn).Root,
		width: width, height: height, gone: make(chan struct{}),
		held: map[string]xproto.Keycode{}, pressed: map[xproto.Keycode]int{}, buttons: map[byte]bool{},
	}
	go in.drain()
	if err := errors.Join(xtest.Init(conn), in.keys.load(conn)); err != nil {
		conn.Close()
		<-in.gone
		return nil, fmt.Errorf("open input: %w", err)
	}
	return in, nil
}

// drain throws away what the server tells (errors, changes of the keymap that
// are ours), or it would block.
func (in *Injector) drain() {
	defer close(in.gone)
	for {
		if ev, err := in.conn.WaitForEvent(); ev == nil && err == nil {
			return
		}
	}
}

// PreferPlace makes keys that have a place be played by it, whatever character
// they mean to the person.
func (in *Injector) PreferPlace(on bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.byPlace = on
}

// Apply plays one message.
func (in *Injector) Apply(m wire.Input) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	select {
	case <-in.gone:
		return ErrClosed
	default:
	}
	switch m.Type {
	case wire.InputMove:
		return in.move(m)
	case wire.InputRel:
		return in.rel(m)
	case wire.InputDown, wire.InputUp:
		return in.button(m)
	case wire.InputWheel:
		return in.wheel(m)
	case wire.InputKey:
		return in.key(m)
	case wire.InputBlur:
		in.releaseAll()
		return nil
	case wire.InputPing:
		return nil // whoever has the channel answers
	}
	return fmt.Errorf("%w: unknown type %.20q", ErrInput, m.Type)
}

// ReleaseAll releases every key and button that is held, once. Moves are
// counted anew after it.
func (in *Injector) ReleaseAll() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	select {
	case <-in.gone:
		return ErrClosed
	default:
	}
	in.releaseAll()
	// What is released must be, when the caller goes on to freeze or to hand over.
	in.conn.Sync()
	return nil
}

func (in *Injector) releaseAll() {
	for code := range in.pressed {
		in.fake(xproto.KeyRelease, byte(code), 0, 0)
	}
	for b := range in.buttons {
		in.fake(xproto.ButtonRelease, b, 0, 0)
	}
	clear(in.held)
	clear(in.pressed)
	clear(in.buttons)
	in.lastMove = 0
	in.relX, in.relY, in.wheelX, in.wheelY = 0, 0, 0, 0
}

// Close releases what is held and disconnects.
func (in *Injector) Close() error {
	if err := in.ReleaseAll(); err != nil {
		return nil // gone already
	}
	in.conn.Close()
	<-in.gone
	return nil
}

func (in *Injector) fake(kind, detail byte, x, y int16) {
	xtest.FakeInput(in.conn, kind, detail, 0, in.root, x, y, 0)
}

// late reports whether a move was overtaken by a later one. Numbers may wrap.
func (in *Injector) late(n uint32) bool {
	if n == 0 {
		return false // not counted
	}
	if in.lastMove != 0 && int32(n-in.lastMove) <= 0 {
		return true
	}
	in.lastMove = n
	return false
}

// position is the pixel of a place in the picture.
func (in *Injector) position(m wire.Input) (x, y int16, err error) {
	// Written so that NaN fails too.
	if !(m.X >= 0 && m.X <= 1 && m.Y >= 0 && m.Y <= 1) {
		return 0, 0, fmt.Errorf("%w: position %v,%v is not within 0..1", ErrInput, m.X, m.Y)
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
	in.absolute = true
	in.moveTo(x, y)
	return nil
}

// Details of a motion in XTEST.
const (
	motionAbsolute = 0
	motionRelative = 1
)

func (in *Injector) moveTo(x, y int16) { in.fake(xproto.MotionNotify, motionAbsolute, x, y) }

func (in *Injector) rel(m wire.Input) error {
	if !(math.Abs(m.DX) <= maxMove && math.Abs(m.DY) <= maxMove) {
		return fmt.Errorf("%w: motion by %v,%v", ErrInput, m.DX, m.DY)
	}
	if in.late(m.N) {
		return nil
	}
	in.absolute = false
	var dx, dy int
	dx, in.relX = whole(in.relX + m.DX)
	dy, in.relY = whole(in.relY + m.DY)
	if dx != 0 || dy != 0 {
		in.fake(xproto.MotionNotify, motionRelative, int16(dx), int16(dy))
	}
	return nil
}

// whole splits a number into its whole part and the rest.
func whole(v float64) (int, float64) {
	i := math.Trunc(v)
	return int(i), v - i
}

// moveAlong moves to where a button or wheel was used. Where motion is relative
// there is no such place; on the wire that looks like the corner 0,0.
func (in *Injector) moveAlong(m wire.Input) error {
	x, y, err := in.position(m)
	if err != nil {
		return err
	}
	if in.absolute || m.X != 0 || m.Y != 0 {
		in.absolute = true
		in.moveTo(x, y)
	}
	return nil
}

func (in *Injector) button(m wire.Input) error {
	if m.Button < 0 || m.Button >= len(buttons) {
		return fmt.Errorf("%w: button %d", ErrInput, m.Button)
	}
	b, down := buttons[m.Button], m.Type == wire.InputDown
	if err := in.moveAlong(m); err != nil {
		return err
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
		return fmt.Errorf("%w: wheel by %v,%v", ErrInput, m.DX, m.DY)
	}
	if err := in.moveAlong(m); err != nil {
		return err
	}
	in.wheelY = in.roll(in.wheelY, m.DY, 4, 5)
	in.wheelX = in.roll(in.wheelX, m.DX, 6, 7)
	return nil
}

// roll clicks for every full notch and returns the rest.
func (in *Injector) roll(rest, by float64, back, forth byte) float64 {
	if rest*by < 0 {
		rest = 0 // the other way: what was left of the first is not owed
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
