// Package display is the screen of one seat: an X server that only the seat can
// use, and the window manager that its application needs. The server is Xvfb or Xdummy,
// which render OpenGL in software, or Xorg with the driver of a GPU (xserver).
//
//	d, err := display.Start(ctx, display.Config{Width: 1280, Height: 720, Runner: cell})
//	… start the application with d.Env() …
//	err = d.WaitWindow(ctx) // there is a picture to stream
//	…
//	d.Close()
//
// The server listens on a Unix socket in the file system of the seat's cell. A client
// must know the cookie; there is no other access. This process connects by the cell,
// never by a path that the application could have changed, and trusts nothing that the
// server sends (x11).
//
// The window manager gives the application's main window the whole screen, and
// keeps the keyboard where a person expects it.
package display

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/x11"
	"github.com/nearcast/nearcast/seat/display/xserver"
)

// Config describes the screen to make.
type Config struct {
	// Width and Height are in pixels. Drivers of Xorg have minimum sizes: dummy
	// needs 128 lines.
	Width, Height int
	// MaxWidth and MaxHeight are the most that the screen may have later; 0 is Width
	// and Height. Xvfb takes memory for all of it.
	MaxWidth, MaxHeight int
	// Scale is how large applications should draw their UI at first; 0 is 1.
	Scale float64
	// Runner runs the server, and the application later.
	Runner cell.Runner
	// Running is a server that the keeper runs. Otherwise Start starts one: Server,
	// whose zero value is Xvfb, with its files in Dir.
	Running *Running
	Server  wire.XServer
	Dir     string
	// Touch is whether a server that Start starts has a touch screen, if it can: ServerAuto
	// is Xdummy then.
	Touch bool
	// Log gets the lines that the server prints, at debug level. Nil is slog.Default().
	Log *slog.Logger
}

// Running is an X server that the keeper runs.
type Running struct {
	cell.MadeDisplay
	// Ended gives the reason when it has ended.
	Ended <-chan string
}

// server is the X server of a display.
type server interface {
	Name() string // for operators: "Xvfb", "Xorg nvidia"
	Number() int
	PID() int
	Done() <-chan struct{}
	Err() error
	Close() error
}

// Display is a running display server. Its methods are safe for concurrent use.
type Display struct {
	cfg    Config
	srv    server
	wm     *manager
	cookie x11.Cookie
	// devices are the server's, and closed with it.
	devices xserver.Devices

	closeOnce sync.Once
}

// Start starts a server and its window manager. The context bounds the start
// only; the server runs until Close.
func Start(ctx context.Context, cfg Config) (*Display, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	d := &Display{cfg: cfg}
	if cfg.Running != nil {
		d.cookie = cfg.Running.Cookie
		d.srv = newRunning(cfg.Running)
	} else {
		d.cookie = x11.NewCookie()
	}
	if err := cfg.Runner.WriteFile(d.Authority(), x11.Authority(d.cookie)); err != nil {
		d.Close()
		return nil, fmt.Errorf("write the display's cookie: %w", err)
	}
	usual := false
	if d.srv == nil {
		started, err := d.startServer(ctx)
		if err != nil {
			return nil, err
		}
		d.srv, d.devices = started, started.Devices()
		usual = started.Kind() != wire.ServerXorg
	}
	var err error
	first := View{Size{cfg.Width, cfg.Height}, cfg.Scale}
	if d.wm, err = startManager(d.Dial, d.cookie, first, limits{Size{cfg.MaxWidth, cfg.MaxHeight}, usual}, cfg.Log); err != nil {
		d.Close()
		return nil, fmt.Errorf("start window manager on %s: %w", d.Server(), err)
	}
	return d, nil
}

// startServer starts a server. Where the choice is left to the node and Xdummy cannot start,
// the seat has Xvfb.
func (d *Display) startServer(ctx context.Context) (*xserver.Server, error) {
	cfg := d.cfg
	chosen, err := xserver.Choose(cfg.Server)
	if err != nil {
		return nil, err
	}
	c := xserver.Config{
		Width: max(cfg.Width, cfg.MaxWidth), Height: max(cfg.Height, cfg.MaxHeight), Server: chosen, Cookie: d.cookie,
		Touch: cfg.Touch, Runner: cfg.Runner, Dir: cfg.Dir, Log: cfg.Log,
	}
	if cfg.Touch && cfg.Server.Server == wire.ServerAuto && chosen.Server == wire.ServerXvfb {
		if c.Server, err = xserver.Choose(wire.XServer{Server: wire.ServerXdummy}); err == nil {
			var started *xserver.Server
			if started, err = xserver.Start(ctx, c); err == nil || ctx.Err() != nil {
				return started, err
			}
		}
		cfg.Log.Warn("this seat has no touch screen, and its fingers are a mouse", "error", err)
		c.Server = chosen
	}
	return xserver.Start(ctx, c)
}

// Devices are the input devices of the server, which is connected with nobody else. They
// are closed with the display.
func (d *Display) Devices() xserver.Devices { return d.devices }

// Name is the display's name: ":7".
func (d *Display) Name() string { return ":" + strconv.Itoa(d.srv.Number()) }

// Dial opens a connection for a client, which must know Cookie.
func (d *Display) Dial() (*net.UnixConn, error) {
	return d.cfg.Runner.Dial(x11.Socket(d.srv.Number()))
}

// Cookie is the secret of the clients.
func (d *Display) Cookie() x11.Cookie { return d.cookie }

// Authority is the path of the cookie file, as the application sees it.
func (d *Display) Authority() string { return xserver.AuthorityPath(d.cfg.Runner) }

// Env is what a client of the display must have in its environment: DISPLAY and
// XAUTHORITY.
func (d *Display) Env() []string {
	return []string{"DISPLAY=" + d.Name(), "XAUTHORITY=" + d.Authority()}
}

// Server names the kind of server for operators: "Xvfb", "Xorg nvidia".
func (d *Display) Server() string { return d.srv.Name() }

// PID is the server's process id.
func (d *Display) PID() int { return d.srv.PID() }

// Done is closed when the server has ended.
func (d *Display) Done() <-chan struct{} { return d.srv.Done() }

// Err says why the server ended; nil while it runs and after Close.
func (d *Display) Err() error { return d.srv.Err() }

// WaitWindow returns when the application's main window can be seen and has the
// keyboard. It covers the whole screen, unless it has one size only: then it is
// centred.
func (d *Display) WaitWindow(ctx context.Context) error {
	select {
	case <-d.wm.shown:
		return nil
	case <-d.srv.Done():
		if err := d.srv.Err(); err != nil {
			return err
		}
		return fmt.Errorf("wait for a window: %w", os.ErrClosed)
	case <-d.wm.done:
		if err := d.wm.display.Err(); err != nil {
			return fmt.Errorf("wait for a window: the window manager lost its connection to the display: %w", err)
		}
		return errors.New("wait for a window: the window manager lost its connection to the display")
	case <-ctx.Done():
		return fmt.Errorf("wait for a window: %w", ctx.Err())
	}
}

// Close ends the server, where Start started it, and the window manager.
func (d *Display) Close() error {
	var err error
	d.closeOnce.Do(func() {
		if d.wm != nil {
			d.wm.close()
		}
		if d.srv != nil {
			err = d.srv.Close()
		}
		if d.wm != nil {
			<-d.wm.done // its connection ends with the server at the latest
		}
	})
	return err
}

// running is a server that the keeper runs, and ends after the cell.
type running struct {
	made cell.MadeDisplay
	done chan struct{}
	stop chan struct{}
	once sync.Once

	mu    sync.Mutex
	cause error
}

func newRunning(r *Running) *running {
	s := &running{made: r.MadeDisplay, done: make(chan struct{}), stop: make(chan struct{})}
	go func() {
		defer close(s.done)
		select {
		case why := <-r.Ended:
			s.mu.Lock()
			s.cause = fmt.Errorf("%w: %s", xserver.ErrDied, why)
			s.mu.Unlock()
		case <-s.stop:
		}
	}()
	return s
}

func (s *running) Name() string          { return s.made.Name }
func (s *running) Number() int           { return s.made.Number }
func (s *running) PID() int              { return s.made.PID }
func (s *running) Done() <-chan struct{} { return s.done }

func (s *running) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

func (s *running) Close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.done
	return nil
}
