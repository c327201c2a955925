// Package xserver starts the X server of a seat: Xvfb or Xorg with its driver "dummy"
// (Xdummy), which draw in software, or Xorg with the driver of a GPU.
//
//	chosen, err := xserver.Choose(want)
//	s, err := xserver.Start(ctx, xserver.Config{
//		Width: 1280, Height: 720, Server: chosen, Cookie: cookie, Runner: cell,
//	})
//	… clients connect to s.Socket() with the cookie …
//	s.Close()
//
// Xvfb and Xdummy run in the seat's cell, beside the app and as its user. Xdummy has input
// devices, with which this process is connected before the app starts (Server.Devices).
// Xorg with a GPU runs as root, where its driver and the console need that. Then the keeper
// starts it, with files that only root can reach.
package xserver

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// ErrDied says that the server ended by itself.
var ErrDied = errors.New("display server died")

// stopTimeout is how long a server may take to end after SIGTERM.
const stopTimeout = 3 * time.Second

// MaxSide is the largest width or height of a screen in pixels.
const MaxSide = 16384

// Config describes the server to start.
type Config struct {
	// Width and Height are in pixels. Drivers of Xorg have minimum sizes: dummy
	// needs 128 lines.
	Width, Height int
	// Server is what Choose returned; the zero value is Xvfb.
	Server wire.XServer
	// Touch is whether Xdummy has a touch screen.
	Touch bool
	// Cookie is the secret of the clients. Servers in the cell read it from AuthorityPath,
	// which must be there.
	Cookie x11.Cookie
	// Runner runs the server.
	Runner cell.Runner
	// Dir is where Xorg on a GPU finds its configuration and cookie, and writes its log
	// (LogFile). Only the user of this process should be able to reach it.
	Dir string
	// Log gets the lines that the server prints, at debug level. Nil is slog.Default().
	Log *slog.Logger
}

// program is an X server to run: all that differs between kinds of servers.
type program struct {
	name      string // for messages
	path      string
	authority string   // its cookie file
	args      []string // in addition to those that every X server gets
	// reasons picks the lines that say why the server ended, from the last lines
	// that it printed.
	reasons func(printed []string) []string
}

// Server is one X server process. Its methods are safe for concurrent use.
type Server struct {
	program
	cfg     Config
	process *cell.Process
	number  int
	socket  os.FileInfo // nil in a cell
	files   []string    // that Close removes
	devices Devices
	log     *slog.Logger

	done chan struct{} // closed when the process has ended

	mu       sync.Mutex
	stopping bool
	cause    error
	tail     []string // the last lines printed
}

// tailLines is enough: X servers print some lines after the one that matters.
const tailLines = 12

// Numbers of displays outside a cell are chosen at random from this range. If the
// server chose, it would take the lowest free one, whose socket a server that is just
// ending could still remove. Lower numbers are for displays of desktops, higher ones
// stand for TCP ports that do not exist.
const (
	lowestNumber  = 1_000
	highestNumber = 59_000
	attempts      = 5
)

// errTaken says that another server has the number.
var errTaken = errors.New("the display number is taken")

// Start starts an X server on a display of its own. The server accepts connections
// when it returns. The context bounds the start only.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Width < 1 || cfg.Height < 1 || cfg.Width > MaxSide || cfg.Height > MaxSide {
		return nil, fmt.Errorf("display size %dx%d: each side must be 1 to %d pixels", cfg.Width, cfg.Height, MaxSide)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if number := cfg.Runner.DisplayNumber(); number >= 0 {
		return startAt(ctx, cfg, number)
	}
	if err := MakeSocketDir(); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		number := lowestNumber + rand.IntN(highestNumber-lowestNumber)
		if _, err := os.Lstat(x11.Socket(number)); err == nil {
			continue
		}
		s, err := startAt(ctx, cfg, number)
		if err == nil || attempt == attempts || !errors.Is(err, errTaken) {
			return s, err
		}
	}
}

func startAt(ctx context.Context, cfg Config, number int) (_ *Server, err error) {
	s := &Server{cfg: cfg, number: number, log: cfg.Log, done: make(chan struct{})}
	if s.program, err = newProgram(cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if cfg.Server.Server == wire.ServerXorg {
		if s.files, err = writeXorgFiles(cfg); err != nil {
			return nil, err
		}
	}
	ready, readyEnd, err := os.Pipe() // the server says on it when it is ready
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer ready.Close()
	defer readyEnd.Close()
	printed, printedEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer printedEnd.Close()
	if cfg.Runner.DisplayNumber() >= 0 {
		// No abstract socket: seats with the node's network would all have the same.
		// Elsewhere it is what shows that a number is taken.
		s.args = append(s.args, "-nolisten", "local")
	}
	s.process, err = cfg.Runner.Start(ctx, cell.Program{
		Name: "display", Path: s.path, Dir: "/",
		Args: append([]string{s.path, fmt.Sprintf(":%d", number),
			"-displayfd", "3", // says when the server is ready
			"-auth", s.authority,
			"-dpi", "96",
			"-nolisten", "tcp",
			"-noreset", // the server stays when its last client leaves
			"-br",      // black
			"-s", "0",  // no screen saver
			"+extension", "GLX",
			"+extension", "RANDR",
			"+extension", "COMPOSITE",
			"+extension", "MIT-SHM",
			"+extension", "XTEST",
		}, s.args...),
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"},
	}, nil, printedEnd, printedEnd, readyEnd)
	printedEnd.Close()
	readyEnd.Close() // only the server keeps the pipes open now
	if err != nil {
		printed.Close()
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	go s.follow(printed)
	if err := s.await(ctx, ready); err != nil {
		return s, err
	}
	if cfg.Server.Server == wire.ServerXdummy {
		return s, s.connectDevices()
	}
	return s, nil
}

// await returns when the server accepts connections.
func (s *Server) await(ctx context.Context, pipe io.Reader) error {
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(pipe).ReadString('\n')
		ready <- strings.TrimSpace(line)
	}()
	select {
	case line := <-ready:
		if number, err := strconv.Atoi(line); err == nil && number == s.number {
			if s.cfg.Runner.DisplayNumber() >= 0 {
				return nil
			}
			if s.socket, err = os.Lstat(x11.Socket(s.number)); err != nil {
				return fmt.Errorf("start %s: it must listen in %s, where clients look for it: %w", s.name, x11.SocketDir, err)
			}
			return nil
		}
		// The pipe was closed without a number: the server is ending.
		s.waitOrKill(stopTimeout)
		err := s.errOr("it did not become ready")
		if text := err.Error(); strings.Contains(text, "already active") || strings.Contains(text, "already running") {
			err = fmt.Errorf("%w: %w", errTaken, err)
		}
		return fmt.Errorf("start %s: %w", s.name, err)
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w", s.name, ctx.Err())
	}
}

// follow reads what the server prints and waits for its end.
func (s *Server) follow(printed *os.File) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(&lineWriter{line: s.printed}, printed)
	}()
	<-s.process.Done()
	select { // a child of the server may keep the pipe open
	case <-read:
	case <-time.After(time.Second):
	}
	printed.Close()
	<-read
	s.ended(s.process.Result())
	close(s.done)
}

// printed handles a line of the server's output.
func (s *Server) printed(line string) {
	s.log.Debug("display server printed", "server", s.name, "line", line)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = append(s.tail, line)
	if len(s.tail) > tailLines {
		s.tail = s.tail[1:]
	}
}

func (s *Server) ended(result cell.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	how := fmt.Sprintf("exit status %d", result.ExitCode)
	if result.Signal != 0 {
		how = "signal: " + syscall.Signal(result.Signal).String()
	}
	s.cause = fmt.Errorf("%w: %s", ErrDied, how)
	if lines := s.reasons(s.tail); len(lines) > 0 {
		s.cause = fmt.Errorf("%w: %s", s.cause, strings.Join(lines, "; "))
	}
}

// Err says why the server ended; nil while it runs and after Close.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// errOr is the reason why the server ended; otherwise, if none is known.
func (s *Server) errOr(otherwise string) error {
	if err := s.Err(); err != nil {
		return err
	}
	return errors.New(otherwise)
}

// Name names the kind of server for operators: "Xvfb", "Xorg nvidia".
func (s *Server) Name() string {
	if s.cfg.Server.Server == wire.ServerXorg {
		return s.name + " " + s.cfg.Server.Driver
	}
	return s.name
}

// Kind is wire.ServerXvfb, ServerXdummy or ServerXorg.
func (s *Server) Kind() string { return cmp.Or(s.cfg.Server.Server, wire.ServerXvfb) }

// Number is the display's number: 7 is display ":7".
func (s *Server) Number() int { return s.number }

// PID is the server's process id.
func (s *Server) PID() int { return s.process.PID }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the server and removes the files that it left.
func (s *Server) Close() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	if s.process != nil {
		s.process.Signal(int(syscall.SIGTERM), false)
		s.process.Signal(int(syscall.SIGCONT), false)
		s.waitOrKill(stopTimeout)
		s.removeLeftovers()
	}
	s.devices.Close()
	for _, file := range s.files {
		os.Remove(file)
	}
	return nil
}

func (s *Server) waitOrKill(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.done:
	case <-t.C:
		s.process.Signal(int(syscall.SIGKILL), false)
		<-s.done
	}
}

// MakeSocketDir makes the directory that X servers share, with the mode that X
// servers of root give it. Those of other users cannot give it that mode.
func MakeSocketDir() error {
	if _, err := os.Stat(x11.SocketDir); err == nil || os.Getuid() != 0 {
		return nil
	}
	if err := os.Mkdir(x11.SocketDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make %s: %w", x11.SocketDir, err)
	}
	if err := os.Chmod(x11.SocketDir, 0o777|os.ModeSticky); err != nil {
		return fmt.Errorf("make %s: %w", x11.SocketDir, err)
	}
	return nil
}

// removeLeftovers removes the files of a server that was killed. Another server may
// have the display's number by now, so only this server's own files go. In a cell
// nothing must be removed.
func (s *Server) removeLeftovers() {
	if s.socket == nil {
		return
	}
	path := x11.Socket(s.number)
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, s.socket) {
		os.Remove(path)
	}
	lock := fmt.Sprintf("/tmp/.X%d-lock", s.number)
	b, err := os.ReadFile(lock)
	if err != nil {
		return
	}
	if owner, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && owner == s.PID() {
		os.Remove(lock)
	}
}
