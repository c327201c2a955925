// Package input brings a person's input to a display. It plays wire.Input by the
// XTEST extension; applications cannot tell it from a real mouse and keyboard. Where the
// display has devices for that, the wheel turns by parts of a notch, and there are fingers.
//
//	in, err := input.Open(d.Dial, d.Cookie(), 1280, 720) // d is a display.Display
//	err = in.AddDevices(d.Devices().Wheel, d.Devices().Touch)
//	…
//	in.Apply(wire.Input{Type: wire.InputKey, Code: "KeyQ", Key: "q", Pressed: true})
//	in.Apply(wire.Input{Type: wire.InputKey, Code: "KeyQ", Key: "q"})
//	…
//	in.ReleaseAll() // when the person is gone
//
// # Keys
//
// For each key a browser sends its position on the keyboard (code) and what it
// means to this person (key). The seat's keyboard has a US layout. A key that means
// a character is played so that the application gets this character:
//
//  1. by the key at its position, if that key produces the character,
//  2. else by another key of the layout that produces it,
//  3. else by a spare key, which is mapped to the character when it is needed.
//
// So people type on their own layout, whatever it is. A key without a character is
// played by its position. PreferPlace changes the order, for applications that use
// keys by their position, as most games do. A shortcut with a letter of a script
// that is not Latin is played by position too: Control+С of a Russian keyboard is
// Control+C.
//
// An application learns what a key means when it gets to the key, which may be long
// after the key was played. So a spare key keeps its meaning until the application
// has answered a ping that came after the key (spares).
//
// # Text
//
// Text of an input method or a screen keyboard comes whole, and is typed without
// modifiers: those that the person holds are up meanwhile.
//
// Locks follow the person's: if their Caps Lock or Num Lock differs from the
// display's, the display's is switched first.
//
// # Motion
//
// Games read the motion of the mouse, not its position. Watch finds out when an
// application does. Then a page locks its pointer and sends motion, with the sum of all of it, which
// makes good what the line loses.
//
// # Wheel and fingers
//
// A wheel of the display's own moves by any fraction of a notch. Applications that know
// XInput 2.1 scroll by as much; for all others the X server makes clicks of whole notches.
// Without such a device there are only clicks.
//
// Fingers are the touch screen's. Where an application does not take touches, the X server
// makes a mouse of the first finger.
//
// # Wrong and repeated input
//
// Impossible input is refused with ErrInput and has no effect. The package knows
// what is held: a release is of the key that was pressed, even if its meaning has
// changed since; a second press of a held key does nothing (the display repeats keys
// by itself), but that the key repeats again after StopRepeats; ReleaseAll releases everything.
package input

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

var (
	// ErrInput is wrapped by errors about a message that makes no sense. The
	// display still works.
	ErrInput = errors.New("bad input")
	// ErrClosed says that the display is gone or Close was called.
	ErrClosed = errors.New("display connection closed")
)

// Injector plays wire.Input on a display. It is safe for concurrent use.
type Injector struct {
	client        *x11.Client
	conn          *xgb.Conn // the client's
	root          xproto.Window
	width, height int
	gone          chan struct{} // closed with the connection

	pings    pings
	watching sync.WaitGroup
	cursor   chan bool // whether the application shows a cursor, for watch

	mu      sync.Mutex
	keys    keymap
	byPlace bool
	held    map[string]xproto.Keycode // by code, or by key where there is no code
	pressed map[xproto.Keycode]int    // how many entries of held it has
	buttons map[byte]bool
	// The display may repeat a key that is held; StopRepeats stopped that.
	repeating, stopped bool
	devices            devices
	absolute           bool // the last motion was to a position: atX, atY
	atX, atY           int16
	hidden             bool // the application shows no cursor; known only with Watch
	relative           bool // it reads motion
	probes             probes
	// onRelative is told of a change of relative; nil without Watch.
	onRelative func(bool)
	lastMove   uint32
	sum        *[2]float64 // of all motion, as the page said last; nil before
	relX       float64     // motion of less than a pixel, which is still to be made
	relY       float64
	wheelX     float64 // less than a notch, likewise
	wheelY     float64
}

// Open connects to a display of the given size.
func Open(dial x11.Dialer, cookie x11.Cookie, width, height int) (*Injector, error) {
	if width < 1 || height < 1 {
		return nil, fmt.Errorf("open input: the display size %dx%d must be positive", width, height)
	}
	client, err := x11.Dial(dial, cookie)
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	conn := client.Conn
	in := &Injector{
		client: client, conn: conn, root: xproto.Setup(conn).DefaultScreen(conn).Root,
		width: width, height: height, gone: make(chan struct{}), cursor: make(chan bool, 1),
		held: map[string]xproto.Keycode{}, pressed: map[xproto.Keycode]int{}, buttons: map[byte]bool{},
		devices: devices{fingers: map[uint32]*finger{}},
	}
	go in.drain()
	if err := errors.Join(xtest.Init(conn), in.keys.load(conn), in.pings.open(conn, in.root)); err != nil {
		conn.Close()
		<-in.gone
		return nil, fmt.Errorf("open input: %w", errors.Join(err, client.Err()))
	}
	return in, nil
}

// lost is ErrClosed, with its reason, once the connection has ended.
func (in *Injector) lost() error {
	select {
	case <-in.gone:
	default:
		return nil
	}
	if err := in.client.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return ErrClosed
}

// drain reads what the server sends. Otherwise the connection would block. All but
// answers to pings is discarded: errors, our own changes of the keymap.
func (in *Injector) drain() {
	defer close(in.gone)
	for {
		ev, err := in.conn.WaitForEvent()
		if ev == nil && err == nil {
			return
		}
		if m, ok := ev.(xproto.ClientMessageEvent); ok {
			in.pings.heard(m)
		}
	}
}

// PreferPlace makes keys that have a position be played by it, whatever character
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
	if err := in.lost(); err != nil {
		return err
	}
	switch m.Type {
	case wire.InputMove:
		return in.move(m)
	case wire.InputRel:
		return in.rel(m)
	case wire.InputDown, wire.InputUp:
		in.probes.anew()
		return in.button(m)
	case wire.InputWheel:
		return in.wheel(m)
	case wire.InputTouch:
		if m.N == 0 { // a finger comes or goes
			in.probes.anew()
		}
		return in.touch(m)
	case wire.InputKey:
		return in.key(m)
	case wire.InputText:
		return in.text(m)
	case wire.InputBlur:
		in.releaseAll() // of the same page, whose numbers and sums go on
		return nil
	case wire.InputPing, wire.InputCursor:
		return nil // package peer answers pings, and the seat tells of the cursor
	}
	return fmt.Errorf("%w: unknown type %.20q", ErrInput, m.Type)
}

// ReleaseAll releases every key and button that is held, and lifts all fingers, once.
// After it, moves may be numbered from 1 again.
func (in *Injector) ReleaseAll() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.lost(); err != nil {
		return err
	}
	in.releaseAll()
	in.lastMove, in.sum = 0, nil
	// The caller may freeze the app next: everything must be released before.
	in.turnTo(nil)
	in.conn.Sync()
	return nil
}

func (in *Injector) releaseAll() {
	for id := range in.devices.fingers {
		in.liftFinger(id)
	}
	for code := range in.pressed {
		in.fake(xproto.KeyRelease, byte(code), 0, 0)
	}
	for b := range in.buttons {
		in.fake(xproto.ButtonRelease, b, 0, 0)
	}
	clear(in.held)
	clear(in.pressed)
	clear(in.buttons)
	in.repeating, in.stopped = false, false
	in.devices.late = 0
	in.relX, in.relY, in.wheelX, in.wheelY = 0, 0, 0, 0
}

// Close releases what is held and disconnects.
func (in *Injector) Close() error {
	if err := in.ReleaseAll(); err != nil {
		return nil // the connection is gone already
	}
	in.conn.Close()
	<-in.gone
	in.watching.Wait()
	return nil
}

func (in *Injector) fake(kind, detail byte, x, y int16) {
	in.turnTo(nil)
	if kind != xproto.KeyPress && kind != xproto.KeyRelease {
		in.devices.rolled = time.Time{}
	}
	xtest.FakeInput(in.conn, kind, detail, 0, in.root, x, y, 0)
}
