package seat

import (
	"context"
	"encoding/json"
	"image"
	"io"
	"net"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// Parts make the components of a seat. Each makes one component and knows none
// of the others. cmd/stream-host passes the real ones, tests pass stand-ins.
type Parts struct {
	// Freeze says when an idle app is frozen.
	Freeze FreezePolicy
	// Cell returns when the cell is there, where the display starts beside the content. nil waits for nothing.
	Cell func(ctx context.Context) error
	// Content fetches the app's files. The seat closes the result after the app ended.
	Content func(ctx context.Context, progress func(done, total int64, name string)) (io.Closer, error)
	// Spoilt gives the seat's end when files of Content may have wrong bytes: the disk failed.
	Spoilt <-chan wire.End
	// Display starts the display.
	Display func(ctx context.Context) (Display, error)
	// Sound starts the sound server. It is called if the display has audio.
	Sound func(ctx context.Context) (Sound, error)
	// App starts the app with the values of its parameters. env is added to the app's own
	// environment.
	App func(ctx context.Context, env []string, params map[string]string) (App, error)
	// CheckApp reports whether the app's command is there. It is called where the app
	// starts later.
	CheckApp func(ctx context.Context) error
	// TellParams tells the values to an app that runs.
	TellParams func(params map[string]string) error
	// Input connects to the display's input. relative is told when the app begins and
	// ends to read motion instead of positions, where the job leaves that to the seat.
	Input func(d Display, relative func(bool)) (Input, error)
	// Clipboard connects to the display's clipboard; copied gets what the app copied. It is
	// called where the job has a clipboard.
	Clipboard func(d Display, copied func(map[wire.ClipKind][]byte)) (Clipboard, error)
	// Gamepads makes the app's gamepads; rumble gets how one shakes. nil, also as its
	// result, is a seat without. It is called where the job has gamepads, before the app
	// starts.
	Gamepads func(rumble func(wire.Rumble)) (Gamepads, error)
	// Messages opens what page and app say to each other. nil is a seat without. It is called
	// before the app starts.
	Messages func() (Messages, error)
	// Video starts to capture and encode the display. cursor gets the app's cursor
	// whenever its shape has changed.
	Video func(ctx context.Context, d Display, frame func(Frame), cursor func(Cursor)) (Capture, error)
	// Audio starts to capture and encode the sound.
	Audio func(ctx context.Context, s Sound, frame func(Frame)) (Source, error)
	// Peer makes the seat's end of a WebRTC connection.
	Peer func(PeerConfig) (Peer, error)
	// Verify checks a ticket.
	Verify func(token string) (Claims, error)
	// Identity is the seat's own key, which its record names. Peers knows which
	// brain has which key: the seat API is for brains alone.
	Identity *identity.Identity
	Peers    identity.Peers
	// Control is where the driver connects. Run closes it.
	Control net.Listener
	// Trace makes the spans of launches; nil makes none. Run closes it.
	Trace *trace.Tracer
	// KeeperPID is the process that the driver started.
	KeeperPID int
	// Report tells the driver how the seat ended. It is called last, and once.
	Report func(wire.Exit) error
}

// FreezePolicy says when an idle app is frozen. An app that shows a window may
// still be loading, and an app that is frozen while it loads shows a loading
// screen to the next person. So an app is frozen when it neither painted nor
// computed for Quiet. An app that always paints, as games do, is frozen after
// Latest. The zero value freezes at once.
type FreezePolicy struct {
	Quiet, Latest time.Duration
}

// Display is the display that the app draws on.
type Display interface {
	Env() []string
	// WaitWindow returns when the app shows a window.
	WaitWindow(ctx context.Context) error
	// Changed has an element after Size or Windows changed.
	Changed() <-chan struct{}
	// Size is the size of what can be seen.
	Size() (width, height int)
	// Windows is how many windows the person can close, and CloseWindow closes the one
	// in front.
	Windows() int
	CloseWindow()
	// SetView makes the display this large, and tells the app how large to draw its UI.
	SetView(width, height int, scale float64)
	Done() <-chan struct{}
	Err() error
	Close() error
}

// Sound is a sound server.
type Sound interface {
	Env() []string
	Done() <-chan struct{}
	Err() error
	Close() error
}

// App is the running app with all its descendants.
type App interface {
	// PID and InitPID are the app's main process and the first process of its cell.
	PID() int
	InitPID() int
	Done() <-chan struct{}
	Exit() (code, signal int)
	Signal(name string) error
	// CPU is the processor time of the app and its living descendants.
	CPU() time.Duration
	Freeze() error
	Thaw() error
	Stop(signal string, timeout time.Duration) error
}

// Input applies a person's input to the display.
type Input interface {
	Apply(wire.Input) error
	// Touches reports whether fingers can be touches.
	Touches() bool
	// CursorShown says whether the app shows a cursor. It does not block.
	CursorShown(bool)
	// StopRepeats keeps the keys that are held from repeating until the page says that they still are.
	StopRepeats()
	ReleaseAll() error
	// Resize says how large the display is now.
	Resize(width, height int)
	Close() error
}

// Gamepads are what the app sees of the person's gamepads.
type Gamepads interface {
	// Connect says which there are, a bit each; anew is told by a page that has just begun.
	Connect(pads int, anew bool) error
	// Apply takes the state of one, with its number.
	Apply(s wire.Pad, n uint32) error
	// Release lets go of all that is held.
	Release()
	Close() error
}

// Clipboard is the app's.
type Clipboard interface {
	// Put makes this what the app pastes.
	Put(Clip) error
	// Look tells soon what the app copied. It does not block.
	Look()
	Close() error
}

// Messages are what the page and the app say to each other.
type Messages interface {
	// Env is what the app needs in its environment.
	Env() []string
	// Ready is closed when the app says that it is presentable, Quit when it wants the
	// session to end.
	Ready() <-chan struct{}
	Quit() <-chan struct{}
	// Page is the channel of a new connection; tell sends on it.
	Page(tell func(message []byte, text bool)) MessagesPage
	// Flush returns when the page has what the app sent, or there is none, or ctx ends.
	Flush(ctx context.Context)
	Close() error
}

// MessagesPage is the channel of one connection.
type MessagesPage interface {
	// Heard takes a message of wire.ChannelMessages. After an error the channel is of no use.
	Heard(message []byte, text bool) error
	Gone()
}

// Clip is what a person's clipboard has: a text, and what Read gives.
type Clip struct {
	Text  string
	Offer wire.ClipOffer // without an ID there is only the text
	// Read gives the bytes of a kind from a place on that are there; it waits for the first.
	// At the end it is io.EOF.
	Read func(ctx context.Context, kind wire.ClipKind, at int) ([]byte, error)
}

// Source is a running capture.
type Source interface {
	Pause()
	Resume()
	Done() <-chan struct{}
	Err() error
	Close() error
}

// Capture is a Source of pictures.
type Capture interface {
	Source
	Keyframe()
	SetBitrate(bps int)
	// SetMain says whether the browser decodes H.264's Main profile.
	SetMain(bool)
	// DrawCursor says whether the cursor is in the picture.
	DrawCursor(bool)
	// Stirred reports whether the picture changed since the last call. It works
	// while the capture is paused, too.
	Stirred() bool
	// Crop says which part of the screen, from its corner, can be seen.
	Crop(width, height int)
	// Plain reports whether the last picture was of one colour.
	Plain() bool
	// Still is the next picture, with no side longer than most, and when it was captured.
	Still(ctx context.Context, most int) (*image.RGBA, time.Time, error)
	Figures() CaptureFigures
}

// Frame is one encoded picture or packet of sound.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration
	Captured time.Time // by one clock for both
}

// Peer is the seat's end of a WebRTC connection with a browser.
type Peer interface {
	Answer(ctx context.Context, offer string) (string, error)
	// Restart answers a later offer, by which the connection looks for a new way.
	Restart(ctx context.Context, offer string) (string, error)
	AddCandidate(json.RawMessage) error
	WriteVideo(Frame) error
	WriteAudio(Frame) error
	// TakesMain says, after Answer, whether the browser decodes H.264's Main profile.
	TakesMain() bool
	// Tell sends the page a message on its channel for input. It does not block. The result is
	// 0 where it cannot; else Arrived says by it, also when the peer is closed, whether the page's browser got the message.
	Tell(message []byte) (mark uint64)
	Arrived(mark uint64) bool
	// TellClip sends on wire.ChannelClip, which TakesClips says is there. It does not block.
	TellClip(message []byte, text bool)
	TakesClips() bool
	// TellMessage sends on wire.ChannelMessages, if that is there. It does not block.
	// EndMessages closes it.
	TellMessage(message []byte, text bool)
	EndMessages()
	Figures() PeerFigures
	Close() error
}

// PeerConfig holds the functions that a peer calls. It calls none of them after
// Close returned, and none of them may call Close.
type PeerConfig struct {
	OnInput   func(wire.Input)
	OnClip    func(message []byte, text bool) // of wire.ChannelClip
	OnMessage func(message []byte, text bool) // of wire.ChannelMessages
	// OnMessagesEnd comes when that is closed.
	OnMessagesEnd func()
	OnState       func(PeerState)
	OnKeyframe    func()
	OnSilent      func()
	OnBitrate     func(bps int)
	OnCandidate   func(json.RawMessage)
	StartBPS      int // the most at which congestion control begins; 0 leaves it to the peer
}

// PeerState is the state of a peer's connection, as in WebRTC's
// RTCPeerConnectionState.
type PeerState int

const (
	PeerConnected    PeerState = iota // media and input flow
	PeerDisconnected                  // may connect again by itself
	PeerClosed                        // final
)

// Claims are the facts of a ticket that matter to a seat.
type Claims struct {
	Session string
	App     string
	Params  map[string]string // what was set of the app's parameters
	// Subject, Network, Customer and Meta stand with the seat in its record.
	Subject, Network, Customer string
	Meta                       map[string]string
	// MaxDuration is how long the session may last; 0 leaves it to the job.
	MaxDuration time.Duration
	// First is when the person pressed Play, and Trace the traceparent of the launch.
	First time.Time
	Trace string
}
