package seat

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Parts are what a seat is put together from. Each makes one thing and knows
// nothing of the others; cmd/stream-host gives the real ones.
type Parts struct {
	// Freeze says when an idle app is frozen.
	Freeze FreezePolicy
	// Content brings the app's files. The seat closes the result when the app is gone.
	Content func(ctx context.Context, progress func(done, total int64, name string)) (io.Closer, error)
	// Display starts the screen.
	Display func(ctx context.Context) (Display, error)
	// Sound starts the sound server; called where the display has audio.
	Sound func(ctx context.Context) (Sound, error)
	// App starts the app with env besides its own.
	App func(ctx context.Context, env []string) (App, error)
	// Hands connects to the display's input.
	Hands func(d Display) (Hands, error)
	// Video starts to capture and encode the display.
	Video func(ctx context.Context, d Display, frame func(Frame)) (Capture, error)
	// Audio starts to capture and encode the sound.
	Audio func(ctx context.Context, s Sound, frame func(Frame)) (Source, error)
	// Peer makes one end of a WebRTC connection.
	Peer func(PeerConfig) (Peer, error)
	// Verify checks a ticket.
	Verify func(token string) (Claims, error)
	// Register makes the seat known to brains. It must not wait for anybody.
	Register func(ctx context.Context, seat wire.Seat) (Registration, error)
}

// FreezePolicy says when an idle app is frozen. Its first window says that it is
// there, not that it has loaded and painted; and who froze it while it loads
// would give a person a loading screen. So it is frozen when it has come to rest:
// it neither painted nor computed for Quiet. One that always paints, as games do,
// is frozen after Latest. The zero value freezes at once.
type FreezePolicy struct {
	Quiet, Latest time.Duration
}

// Display is a screen that the app draws on.
type Display interface {
	Env() []string
	// WaitWindow returns when there is something to see.
	WaitWindow(ctx context.Context) error
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
	PID() int
	Done() <-chan struct{}
	Exit() (code, signal int)
	Signal(name string) error
	// CPU is the processor time of the app and its descendants that live.
	CPU() time.Duration
	Freeze() error
	Thaw() error
	Stop(signal string, timeout time.Duration) error
}

// Hands put a person's input on the display.
type Hands interface {
	Apply(wire.Input) error
	ReleaseAll() error
	Close() error
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
	// Stirred reports whether the picture changed since it was last asked, also
	// while the capture is paused.
	Stirred() bool
}

// Frame is one encoded picture or piece of sound.
type Frame struct {
	Data     []byte
	Keyframe bool
	PTS      time.Duration
}

// Peer is the seat's end of a connection with a browser.
type Peer interface {
	Answer(ctx context.Context, offer string) (string, error)
	AddCandidate(json.RawMessage) error
	WriteVideo(Frame) error
	WriteAudio(Frame) error
	Close() error
}

// PeerConfig is what a peer tells the seat. None of it is called after Close
// returned, and none may call Close.
type PeerConfig struct {
	Input     func(wire.Input)
	Link      func(LinkState)
	Keyframe  func()
	Bitrate   func(bps int)
	Candidate func(json.RawMessage)
}

// LinkState is how a peer stands with its browser.
type LinkState int

const (
	LinkConnected LinkState = iota // media and input flow
	LinkLost                       // may come back by itself
	LinkClosed                     // for good
)

// Claims is what a ticket says, as far as a seat is concerned.
type Claims struct {
	Session string
	App     string
}

// Registration is a seat's entry in the registry.
type Registration interface {
	Update(wire.Seat)
	Close()
}
