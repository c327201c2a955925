// Package display is the screen of one seat: an Xvfb server that nobody but the
// seat can use, and the window manager its application needs.
//
//	d, err := display.Start(ctx, display.Config{Width: 1280, Height: 720, AuthDir: dir})
//	…
//	start the application with d.Env()
//	err = d.WaitWindow(ctx) // a window covers the screen: there is a picture to stream
//	…
//	d.Close()
//
// The server listens on a unix socket in the file system, because an isolated
// application sits in another network namespace and sees no abstract socket.
// Whoever connects must know a cookie that Start makes and writes to a file in
// Config.AuthDir; there is no other access.
//
// The server is gone, with its lock and its socket, when Close returns, and also
// when the process that started it is killed at any moment.
package display

import (
	"context"
	"errors"
	"image"
	"log/slog"
	"syscall"
)

// ErrServerDied is returned where the display server ended unasked.
var ErrServerDied = errors.New("display server died")

// Config says what screen to make.
type Config struct {
	// Width and Height are in pixels.
	Width, Height int
	// AuthDir is where the cookie file is written. The application's user must
	// be able to reach it, and nobody else should.
	AuthDir string
	// Credential is the user who runs the server and owns the cookie file: the
	// application's. Nil is the user of this process.
	Credential *syscall.Credential
	// Log gets what the server prints, at debug level. Nil is slog.Default().
	Log *slog.Logger
}

// Display is a running display server.
type Display struct{}

// Start starts a server and its window manager. The context bounds the start
// only; the server runs until Close.
func Start(ctx context.Context, cfg Config) (*Display, error) {
	return nil, errors.New("not built yet")
}

// Name is the display's name: ":7".
func (d *Display) Name() string { return "" }

// Authority is the path of the cookie file.
func (d *Display) Authority() string { return "" }

// Env is what a client of the display must have in its environment: DISPLAY and
// XAUTHORITY.
func (d *Display) Env() []string { return nil }

// PID is the server's process id.
func (d *Display) PID() int { return 0 }

// Done is closed when the server has ended.
func (d *Display) Done() <-chan struct{} { return nil }

// Err says why the server ended; nil while it runs and after Close.
func (d *Display) Err() error { return nil }

// WaitWindow returns when a window is viewable and covers the whole screen.
func (d *Display) WaitWindow(ctx context.Context) error { return nil }

// RequestClose asks every window to close, as a person does by its close button.
func (d *Display) RequestClose() error { return nil }

// Screenshot is the picture on the screen now.
func (d *Display) Screenshot() (image.Image, error) { return nil, nil }

// Close ends the server and removes its lock, socket and cookie files.
func (d *Display) Close() error { return nil }
