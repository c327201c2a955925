// Package display is the screen of one seat: an X server that nobody but the
// seat can use, and the window manager its application needs. The server is
// Xvfb, where OpenGL is software, or Xorg with the driver of a GPU.
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
// Config.AuthDir; there is no other access. Xvfb runs as the application's user;
// Xorg as this process's, which is root where a GPU is, and keeps what it reads
// and writes in Config.Dir, out of the application's reach.
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

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// ErrServerDied is returned where the display server ended unasked.
var ErrServerDied = errors.New("display server died")

// MaxSide is the largest width or height of a screen in pixels.
const MaxSide = 16384

// Config says what screen to make.
type Config struct {
	// Width and Height are in pixels. Xorg's drivers have least sizes of their
	// own: 128 lines, with dummy.
	Width, Height int
	// Server is the X server; the zero value is Xvfb.
	Server wire.XServer
	// Dir is where Xorg finds its configuration and cookie, and leaves its log
	// (LogFile). Nobody but this process's user should be able to reach it.
	Dir string
	// AuthDir is where the cookie file is written. The application's user must
	// be able to reach it, and nobody else should.
	AuthDir string
	// Credential is the user who owns the cookie file, and runs Xvfb: the
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
	files     []string // to be removed at the end

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
	var err error
	if cfg.Server, err = Choose(cfg.Server); err != nil {
		return nil, err
	}
	d := &Display{cfg: cfg, log: cfg.Log, authority: filepath.Join(cfg.AuthDir, "Xauthority")}

	uid, gid := os.Getuid(), os.Getgid()
	if c := cfg.Credential; c != nil {
		uid, gid = int(c.Uid), int(c.Gid)
	}
	cookie := x11.NewCookie()
	if err := x11.WriteAuthority(d.authority, cookie, uid, gid); err != nil {
		return nil, err
	}
	d.files = append(d.files, d.authority)
	authority := d.authority
	if cfg.Server.Server == wire.ServerXorg {
		more, err := d.writeXorgFiles(cookie)
		if err != nil {
			d.removeFiles()
			return nil, err
		}
		authority = more
	}
	if d.srv, err = startServer(ctx, cfg, authority); err != nil {
		d.removeFiles()
		return nil, err
	}
	if d.wm, err = startManager(d.Name(), d.authority, cfg.Log); err != nil {
		d.Close()
		return nil, fmt.Errorf("start window manager: %w", err)
	}
	// A driver may know better what the monitor wants that it found.
	if w, h := int(d.wm.width), int(d.wm.height); w != cfg.Width || h != cfg.Height {
		d.Close()
		return nil, fmt.Errorf("%s made a screen of %dx%d instead of %dx%d: does a monitor at the GPU want it? A driver option can have it ignored", d.Server(), w, h, cfg.Width, cfg.Height)
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

// Server is what the display is made of, for people: "Xvfb", "Xorg nvidia".
func (d *Display) Server() string {
	if d.cfg.Server.Server == wire.ServerXorg {
		return d.srv.name + " " + d.cfg.Server.Driver
	}
	return d.srv.name
}

// Devices are patterns of the device files that a client must be able to open
// in order to draw as the server does; none with Xvfb.
func (d *Display) Devices() []string {
	if d.cfg.Server.Server == wire.ServerXorg {
		return []string{"/dev/nvidia*", "/dev/dri/renderD*"}
	}
	return nil
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
		d.removeFiles()
	})
	return nil
}

func (d *Display) removeFiles() {
	for _, file := range d.files {
		os.Remove(file)
	}
}
