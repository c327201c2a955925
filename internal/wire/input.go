package wire

// Input travels on two data channels that the browser opens before its offer:
// ChannelInput, reliable and ordered, and ChannelPointer, unordered without
// retransmission, for moves only (a lost move is made good by the next).
// Each message is one JSON Input.
const (
	ChannelInput   = "input"
	ChannelPointer = "pointer"
)

// InputType names an input message.
type InputType string

const (
	InputMove   InputType = "move"   // X, Y; pointer position
	InputRel    InputType = "rel"    // DX, DY; relative motion in display pixels
	InputDown   InputType = "down"   // Button, and X, Y where the pointer is absolute
	InputUp     InputType = "up"     // Button, and X, Y
	InputWheel  InputType = "wheel"  // DX, DY in 120ths of a notch, positive right and down; X, Y
	InputKey    InputType = "key"    // Code, Key, Pressed
	InputText   InputType = "text"   // Text, as it is, without modifiers: of an input method, or of a screen keyboard
	InputClip   InputType = "clip"   // Text, More: the person's clipboard, where Display.Clipboard lets it in
	InputBlur   InputType = "blur"   // the page lost focus: release everything that is held
	InputCursor InputType = "cursor" // the page asks for Pointer; with Pressed it draws the app's cursor, which is then not in the picture
	InputView   InputType = "view"   // View: the person's window has another size
	InputClose  InputType = "close"  // close the app's window in front
	InputPing   InputType = "ping"   // Seq; answered on the same channel by Pong, for the overlay's RTT
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
	// Button is MouseEvent.button: 0 left, 1 middle, 2 right, 3 back, 4 forward.
	Button int `json:"b,omitempty"`
	// Code is KeyboardEvent.code (the place of the key), Key is KeyboardEvent.key (its meaning).
	Code    string `json:"code,omitempty"`
	Key     string `json:"key,omitempty"`
	Pressed bool   `json:"p,omitempty"`
	// Text is at most MaxText bytes, or MaxClipPart of a clipboard.
	Text string `json:"text,omitempty"`
	// More parts of the clipboard follow.
	More bool `json:"more,omitempty"`
	Seq  int  `json:"seq,omitempty"`
	// N counts moves and rels on ChannelPointer: a smaller one that comes late is dropped.
	N uint32 `json:"n,omitempty"`
	// View is InputView's.
	View *View `json:"view,omitempty"`
}

// View is what the person's window is like, for a display that follows it.
type View struct {
	// Width and Height are in device pixels.
	Width  int `json:"width"`
	Height int `json:"height"`
	// Scale is how many device pixels the window has for each of its own.
	Scale float64 `json:"scale"`
}

// MaxText is the most bytes of one Input.Text. Longer texts are several messages.
const MaxText = 512

// The most bytes of a clipboard, and of its part in one message.
const (
	MaxClip     = 200 << 10
	MaxClipPart = 8 << 10
)

// Clip tells the page, on ChannelInput, what the app copied, in parts.
type Clip struct {
	Type string `json:"t"` // "clip"
	Text string `json:"text"`
	More bool   `json:"more,omitempty"`
}

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
