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
//
// The window manager has one idea: the application's main window is the screen.
// See wm.go for what it does with the others.
package display

import (
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/nearcast/nearcast/driver/host/display/x11"
)

// ErrServerDied is returned where the display server ended unasked.
var ErrServerDied = errors.New("display server died")

// MaxSide is the largest width or height of a screen in pixels.
const MaxSide = 16384

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

// Display is a running display server. Its methods are safe for concurrent use.
type Display struct {
	cfg       Config
	log       *slog.Logger
	srv       *server
	wm        *manager
	authority string

	closeOnce sync.Once
}

// Start starts a server and its window manager. The context bounds the start
// only; the server runs until Close.
func Start(ctx context.Context, cfg Config) (*Display, error) {
	if cfg.Width < 1 || cfg.Height < 1 || cfg.Width > MaxSide || cfg.Height > MaxSide {
		return nil, fmt.Errorf("display size %dx%d: each side must be 1 to %d pixels", cfg.Width, cfg.Height, MaxSide)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	d := &Display{cfg: cfg, log: cfg.Log, authority: filepath.Join(cfg.AuthDir, "Xauthority")}

	uid, gid := os.Getuid(), os.Getgid()
	if c := cfg.Credential; c != nil {
		uid, gid = int(c.Uid), int(c.Gid)
	}
	if err := x11.WriteAuthority(d.authority, x11.NewCookie(), uid, gid); err != nil {
		return nil, err
	}
	var err error
	if d.srv, err = startServer(ctx, cfg, d.authority); err != nil {
		os.Remove(d.authority)
		return nil, err
	}
	if d.wm, err = startManager(d.Name(), d.authority, cfg.Log); err != nil {
		d.Close()
		return nil, fmt.Errorf("start window manager: %w", err)
	}
	return d, nil
}

// Name is the display's name: ":7".
func (d *Display) Name() string { return ":" + strconv.Itoa(d.srv.number) }

// Authority is the path of the cookie file.
func (d *Display) Authority() string { return d.authority }

// Env is what a client of the display must have in its environment: DISPLAY and
// XAUTHORITY.
func (d *Display) Env() []string {
	return []string{"DISPLAY=" + d.Name(), "XAUTHORITY=" + d.authority}
}

// PID is the server's process id.
func (d *Display) PID() int { return d.srv.pid }

// Done is closed when the server has ended.
func (d *Display) Done() <-chan struct{} { return d.srv.done }

// Err says why the server ended; nil while it runs and after Close.
func (d *Display) Err() error { return d.srv.err() }

// WaitWindow returns when the application's main window is viewable. It covers
// the whole screen then, unless it has one size only: such a window is centred.
func (d *Display) WaitWindow(ctx context.Context) error {
	select {
	case <-d.wm.shown:
		return nil
	case <-d.srv.done:
		if err := d.srv.err(); err != nil {
			return err
		}
		return fmt.Errorf("wait for a window: %w", os.ErrClosed)
	case <-d.wm.done:
		return fmt.Errorf("wait for a window: the window manager lost the display")
	case <-ctx.Done():
		return fmt.Errorf("wait for a window: %w", ctx.Err())
	}
}

// RequestClose asks every window to close, as a person does by its close
// button. Windows that do not know the question are left alone.
func (d *Display) RequestClose() error { return d.wm.requestClose() }

// Screenshot is the picture on the screen now.
func (d *Display) Screenshot() (image.Image, error) { return d.wm.screenshot() }

// Close ends the server and removes its lock, socket and cookie files.
func (d *Display) Close() error {
	d.closeOnce.Do(func() {
		if d.wm != nil {
			d.wm.close()
		}
		d.srv.stop()
		if d.wm != nil {
			<-d.wm.done // the connection is gone with the server, at the latest
		}
		os.Remove(d.authority)
	})
	return nil
}
