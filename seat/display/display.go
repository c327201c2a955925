// Package display is the screen of one seat: an X server that only the seat can
// use, and the window manager that its application needs. The server is Xvfb,
// which renders OpenGL in software, or Xorg with the driver of a GPU.
//
//	d, err := display.Start(ctx, display.Config{Width: 1280, Height: 720, AuthDir: dir})
//	… start the application with d.Env() …
//	err = d.WaitWindow(ctx) // there is a picture to stream
//	…
//	d.Close()
//
// The server listens on a Unix socket in the file system: an isolated application
// is in another network namespace and does not see abstract sockets. A client must
// know the cookie that Start writes to a file in Config.AuthDir; there is no other
// access. Xvfb runs as the application's user. Xorg runs as the user of this
// process, which is root where there is a GPU, and keeps its files in Config.Dir,
// out of the application's reach.
//
// The server, its lock and its socket are gone when Close returns, and also after
// the process that started it was killed.
//
// The window manager gives the application's main window the whole screen, and
// keeps the keyboard where a person expects it.
package display

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// errServerDied says that the display server ended by itself.
var errServerDied = errors.New("display server died")

// maxSide is the largest width or height of a screen in pixels.
const maxSide = 16384

// Config describes the screen to make.
type Config struct {
	// Width and Height are in pixels. Drivers of Xorg have minimum sizes: dummy
	// needs 128 lines.
	Width, Height int
	// Server is the X server; the zero value is Xvfb.
	Server wire.XServer
	// Dir is where Xorg finds its configuration and cookie, and writes its log
	// (LogFile). Only the user of this process should be able to reach it.
	Dir string
	// AuthDir is where the cookie file is written. Only the application's user
	// should be able to reach it.
	AuthDir string
	// Credential is the application's user: it owns the cookie file, and Xvfb
	// runs as it. Nil is the user of this process.
	Credential *syscall.Credential
	// Log gets the lines that the server prints, at debug level. Nil is slog.Default().
	Log *slog.Logger
}

// Display is a running display server. Its methods are safe for concurrent use.
type Display struct {
	cfg       Config
	log       *slog.Logger
	srv       *server
	wm        *manager
	authority string
	files     []string // that Close removes

	closeOnce sync.Once
}

// Start starts a server and its window manager. The context bounds the start
// only; the server runs until Close.
func Start(ctx context.Context, cfg Config) (*Display, error) {
	if cfg.Width < 1 || cfg.Height < 1 || cfg.Width > maxSide || cfg.Height > maxSide {
		return nil, fmt.Errorf("display size %dx%d: each side must be 1 to %d pixels", cfg.Width, cfg.Height, maxSide)
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
		if authority, err = d.writeXorgFiles(cookie); err != nil {
			d.removeFiles()
			return nil, err
		}
	}
	if d.srv, err = startServer(ctx, cfg, authority); err != nil {
		d.removeFiles()
		return nil, err
	}
	if d.wm, err = startManager(d.Name(), d.authority, cfg.Log); err != nil {
		d.Close()
		return nil, fmt.Errorf("start window manager: %w", err)
	}
	// A driver may follow a monitor that it found instead of the configuration.
	if w, h := int(d.wm.width), int(d.wm.height); w != cfg.Width || h != cfg.Height {
		d.Close()
		return nil, fmt.Errorf("%s made a screen of %dx%d instead of %dx%d: if a monitor at the GPU is the reason, set a driver option that ignores it", d.Server(), w, h, cfg.Width, cfg.Height)
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

// Server names the kind of server for operators: "Xvfb", "Xorg nvidia".
func (d *Display) Server() string {
	if d.cfg.Server.Server == wire.ServerXorg {
		return d.srv.name + " " + d.cfg.Server.Driver
	}
	return d.srv.name
}

// Devices are patterns of the device files that a client must be able to open
// to render on the GPU as the server does; none with Xvfb.
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

// WaitWindow returns when the application's main window can be seen and has the
// keyboard. It covers the whole screen, unless it has one size only: then it is
// centred.
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
		return errors.New("wait for a window: the window manager lost its connection to the display")
	case <-ctx.Done():
		return fmt.Errorf("wait for a window: %w", ctx.Err())
	}
}

// Close ends the server and removes its lock, socket and cookie files.
func (d *Display) Close() error {
	d.closeOnce.Do(func() {
		if d.wm != nil {
			d.wm.close()
		}
		d.srv.stop()
		if d.wm != nil {
			<-d.wm.done // its connection ends with the server at the latest
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
