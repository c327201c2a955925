package wire

import "time"

// Input travels on two data channels that the browser opens before its offer:
// ChannelInput, reliable and ordered, and ChannelPointer, unordered without
// retransmission, for what the next message makes good: moves, and the motion of a
// gamepad's sticks and triggers. No next message makes good the last move before the pointer
// rests, or before a key: it comes on ChannelInput too, with the same N. Each message is one JSON Input. ChannelClip is for what
// clipboards hold (ClipOffer), ChannelMessages for what page and app say (MessageFrame).
const (
	ChannelInput   = "input"
	ChannelPointer = "pointer"
	ChannelClip    = "clip"
)

// InputType names an input message.
type InputType string

const (
	InputMove   InputType = "move"   // X, Y; pointer position
	InputRel    InputType = "rel"    // DX, DY; relative motion in display pixels, since the last message of it; Sum, N
	InputDown   InputType = "down"   // Button; X, Y where the pointer is absolute, else Sum; N of the last InputMove or InputRel
	InputUp     InputType = "up"     // as InputDown
	InputWheel  InputType = "wheel"  // DX, DY in 120ths of a notch, positive right and down; X, Y
	InputTouch  InputType = "touch"  // Touches: all fingers on the picture, on ChannelInput, with Seq for the N of the last move before; or with N where they are now, on ChannelPointer
	InputKey    InputType = "key"    // Code, Key, Pressed
	InputText   InputType = "text"   // Text, as it is, without modifiers: of an input method, or of a screen keyboard
	InputClip   InputType = "clip"   // Text, More, Offer: the person's clipboard, where Display.Clipboard lets it in
	InputBlur   InputType = "blur"   // the page lost focus: release all keys and buttons. Gamepads it releases by their states
	InputCursor InputType = "cursor" // the page asks for Pointer; with Pressed it draws the app's cursor, which is then not in the picture
	InputView   InputType = "view"   // View: the person's window has another size
	InputPads   InputType = "pads"   // Pads: which gamepads the person has, all of them each time; with Pressed the page has just begun, and holds nothing. On ChannelInput
	InputPad    InputType = "pad"    // Pad, N: the state of a gamepad; where a button changed, on ChannelInput
	InputClose  InputType = "close"  // close the app's window in front
	InputPing   InputType = "ping"   // Seq; answered on the same channel by Pong, for the overlay's RTT. With Report every ReportEvery
)

// Input is one message from the browser's hands.
type Input struct {
	Type InputType `json:"t"`
	// X and Y are 0..1 of the picture.
	X float64 `json:"x,omitempty"`
	Y float64 `json:"y,omitempty"`
	// DX and DY are as the type says.
	DX float64 `json:"dx,omitempty"`
	DY float64 `json:"dy,omitempty"`
	// Sum is all motion of the page until now, right and down in display pixels: what the line lost
	// of DX and DY, or delayed, is in the next one.
	Sum *[2]float64 `json:"sum,omitempty"`
	// Button is MouseEvent.button: 0 left, 1 middle, 2 right, 3 back, 4 forward.
	Button int `json:"b,omitempty"`
	// Code is KeyboardEvent.code (the place of the key), Key is KeyboardEvent.key (its meaning).
	Code    string `json:"code,omitempty"`
	Key     string `json:"key,omitempty"`
	Pressed bool   `json:"p,omitempty"`
	// Text is at most MaxText bytes, or MaxClipPart of a clipboard.
	Text string `json:"text,omitempty"`
	// More parts of the clipboard follow. Offer, in the last one, is what else it has.
	More  bool       `json:"more,omitempty"`
	Offer *ClipOffer `json:"offer,omitempty"`
	Seq   int        `json:"seq,omitempty"`
	// N counts moves and rels on ChannelPointer, and the states of each gamepad on both
	// channels, and moves of fingers: a smaller one that comes late is dropped, also after a button.
	N uint32 `json:"n,omitempty"`
	// Touches are in the order in which they began.
	Touches []Touch `json:"touches,omitempty"`
	// Pads has a bit for each gamepad, 1<<Index.
	Pads int `json:"pads,omitempty"`
	// Pad is InputPad's.
	Pad *Pad `json:"pad,omitempty"`
	// View is InputView's.
	View *View `json:"view,omitempty"`
	// Report is what the page has measured since its last one.
	Report *PageMeasured `json:"report,omitempty"`
}

// ReportEvery is how often a page reports what it measures.
const ReportEvery = 5 * time.Second

// View is what the person's window is like, for a display that follows it.
type View struct {
	// Width and Height are in device pixels.
	Width  int `json:"width"`
	Height int `json:"height"`
	// Scale is how many device pixels the window has for each of its own.
	Scale float64 `json:"scale"`
}

// MaxPads is how many gamepads a person can have at a seat.
const MaxPads = 4

// Bits of Pad.Buttons: the numbers of the W3C's standard gamepad. The triggers, 6 and 7,
// have no bit.
const (
	PadSouth = 1 << iota // A
	PadEast              // B
	PadWest              // X
	PadNorth             // Y
	PadLeftShoulder
	PadRightShoulder
	_
	_
	PadSelect
	PadStart
	PadLeftStick
	PadRightStick
	PadUp
	PadDown
	PadLeft
	PadRight
	PadGuide

	// PadButtons are all of them.
	PadButtons = 1<<17 - 1 - 1<<6 - 1<<7
)

// Pad is the whole state of a gamepad, so that a lost one is made good by the next.
type Pad struct {
	Index   int `json:"i"` // 0 to MaxPads-1
	Buttons int `json:"b"` // the bits above
	// The sticks, -32768 to 32767: right and down are positive.
	LeftX  int `json:"lx"`
	LeftY  int `json:"ly"`
	RightX int `json:"rx"`
	RightY int `json:"ry"`
	// The triggers, 0 to 255.
	LeftTrigger  int `json:"lt"`
	RightTrigger int `json:"rt"`
}

// Valid reports whether there can be such a gamepad.
func (p Pad) Valid() bool {
	for _, v := range []int{p.LeftX, p.LeftY, p.RightX, p.RightY} {
		if v < -1<<15 || v > 1<<15-1 {
			return false
		}
	}
	return p.Index >= 0 && p.Index < MaxPads && p.Buttons&^PadButtons == 0 &&
		p.LeftTrigger >= 0 && p.LeftTrigger <= 255 && p.RightTrigger >= 0 && p.RightTrigger <= 255
}

// Rumble tells the page, on ChannelInput, how a gamepad shakes from now on.
type Rumble struct {
	Type  string `json:"t"` // "rumble"
	Index int    `json:"i"`
	// Strong and Weak are the magnitudes of the two motors, 0 to 65535; both 0 is still.
	Strong int `json:"strong"`
	Weak   int `json:"weak"`
	// MS is for how long.
	MS int `json:"ms"`
}

// Touch is a finger on the picture.
type Touch struct {
	// ID is a number that the page gives to one finger only.
	ID uint32 `json:"i"`
	// X and Y are 0..1 of the picture.
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// MaxTouches is how many fingers there can be at a time.
const MaxTouches = 10

// MaxText is the most bytes of one Input.Text. Longer texts are several messages.
const MaxText = 512

// Pointer tells the page, on ChannelInput, what the app does with its pointer: after
// InputCursor, and then at each change.
type Pointer struct {
	Type string `json:"t"` // "pointer"
	// Relative: the app reads motion, not positions. Only where Display.Pointer is PointerAuto.
	Relative bool `json:"relative,omitempty"`
	// Hidden: the app shows no cursor. Else Image is the cursor as PNG in base64, and X, Y
	// its hot spot. Without Image it is the usual arrow.
	Hidden bool   `json:"hidden,omitempty"`
	Image  string `json:"image,omitempty"`
	X      int    `json:"x,omitempty"`
	Y      int    `json:"y,omitempty"`
}

// Pong answers InputPing.
type Pong struct {
	Type string `json:"t"` // "pong"
	Seq  int    `json:"seq"`
}
