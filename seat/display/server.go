package display

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/seat/display/x11"
)

// stopTimeout is how long a server may take to end after SIGTERM.
const stopTimeout = 3 * time.Second

// program is an X server to run: all that differs between kinds of servers.
type program struct {
	name string // for messages
	path string
	args []string // in addition to those that every X server gets
	user *syscall.Credential
	// reasons picks the lines that say why the server ended, from the last lines
	// that it printed.
	reasons func(printed []string) []string
}

// server is one X server process.
type server struct {
	program
	pid    int
	number int
	socket os.FileInfo
	log    *slog.Logger

	done chan struct{} // closed when the process has been waited for

	mu       sync.Mutex
	stopping bool
	cause    error
	tail     []string // the last lines printed
}

// tailLines is enough: X servers print some lines after the one that matters.
const tailLines = 12

// Numbers of displays are chosen at random from this range. If the server chose,
// it would take the lowest free one, whose socket a server that is just ending
// could still remove; and servers in several network namespaces would all take :0,
// with one socket. Lower numbers are for displays of desktops, higher ones stand
// for TCP ports that do not exist.
const (
	lowestNumber  = 1_000
	highestNumber = 59_000
	attempts      = 5
)

// errTaken says that another server has the number.
var errTaken = errors.New("the display number is taken")

// startServer starts an X server on a display of its own. The server accepts
// connections when it returns.
func startServer(ctx context.Context, cfg Config, authority string) (*server, error) {
	for attempt := 1; ; attempt++ {
		number := lowestNumber + rand.IntN(highestNumber-lowestNumber)
		if _, err := os.Lstat(x11.Socket(number)); err == nil {
			continue
		}
		s, err := startServerAt(ctx, cfg, authority, number)
		if err == nil || attempt == attempts || !errors.Is(err, errTaken) {
			return s, err
		}
	}
}

func startServerAt(ctx context.Context, cfg Config, authority string, number int) (*server, error) {
	p, err := newProgram(cfg)
	if err != nil {
		return nil, err
	}
	if err := makeSocketDir(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	defer w.Close()

	s := &server{program: p, log: cfg.Log, done: make(chan struct{})}
	cmd := exec.Command(p.path, fmt.Sprintf(":%d", number),
		"-displayfd", "3", // says when the server is ready
		"-auth", authority,
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
	)
	cmd.Args = append(cmd.Args, p.args...)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Dir = "/"
	// Not our environment, which has credentials for the object store: the
	// server's user can read the server's.
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Credential: p.user,
		Pdeathsig:  syscall.SIGTERM, // lets it remove its lock and socket
	}
	out := &lineWriter{line: s.printed}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second

	// The parent death signal comes when the *thread* that started the child
	// ends. So this thread does nothing else until the child is gone.
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.done)
		err := cmd.Start()
		w.Close() // only the child keeps the pipe open now
		if err == nil {
			s.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		s.ended(cmd.Wait())
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}

	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		ready <- strings.TrimSpace(line)
	}()
	select {
	case line := <-ready:
		if s.number, err = strconv.Atoi(line); err == nil {
			if s.socket, err = os.Lstat(x11.Socket(s.number)); err != nil {
				s.stop()
				return nil, fmt.Errorf("start %s: it must listen in %s, where isolated applications look for it: %w", p.name, x11.SocketDir, err)
			}
			return s, nil
		}
		// The pipe was closed without a number: the server is ending.
		s.waitOrKill(stopTimeout)
		err := s.errOr("it did not become ready")
		if text := err.Error(); strings.Contains(text, "already active") || strings.Contains(text, "already running") {
			err = fmt.Errorf("%w: %w", errTaken, err)
		}
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	case <-ctx.Done():
		s.stop()
		return nil, fmt.Errorf("start %s: %w", p.name, ctx.Err())
	}
}

// printed handles a line of the server's output.
func (s *server) printed(line string) {
	s.log.Debug("display server printed", "server", s.name, "line", line)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = append(s.tail, line)
	if len(s.tail) > tailLines {
		s.tail = s.tail[1:]
	}
}

func (s *server) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return
	}
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	s.cause = fmt.Errorf("%w: %s", errServerDied, how)
	if lines := s.reasons(s.tail); len(lines) > 0 {
		s.cause = fmt.Errorf("%w: %s", s.cause, strings.Join(lines, "; "))
	}
}

func (s *server) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// errOr is the reason why the server ended; otherwise, if none is known.
func (s *server) errOr(otherwise string) error {
	if err := s.err(); err != nil {
		return err
	}
	return errors.New(otherwise)
}

// stop ends the server and removes the files that it left.
func (s *server) stop() {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	select {
	case <-s.done:
	default:
		syscall.Kill(s.pid, syscall.SIGTERM)
		syscall.Kill(s.pid, syscall.SIGCONT)
		s.waitOrKill(stopTimeout)
	}
	s.removeLeftovers()
}

func (s *server) waitOrKill(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.done:
	case <-t.C:
		syscall.Kill(s.pid, syscall.SIGKILL)
		<-s.done
	}
}

// makeSocketDir makes the directory that X servers share, with the mode that X
// servers of root give it. Those of other users cannot give it that mode.
func makeSocketDir() error {
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

// removeLeftovers removes the files of a server that was killed. Another server
// may have the display's number by now, so only this server's own files go.
func (s *server) removeLeftovers() {
	if s.socket != nil {
		path := x11.Socket(s.number)
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, s.socket) {
			os.Remove(path)
		}
	}
	lock := fmt.Sprintf("/tmp/.X%d-lock", s.number)
	b, err := os.ReadFile(lock)
	if err != nil {
		return
	}
	if owner, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && owner == s.pid {
		os.Remove(lock)
	}
}

// lineWriter calls line with each whole line.
type lineWriter struct {
	line func(string)
	rest []byte
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		i := strings.IndexByte(string(w.rest), '\n')
		if i < 0 {
			if len(w.rest) > 4096 {
				w.rest = w.rest[:0]
			}
			return len(b), nil
		}
		if line := strings.TrimSpace(string(w.rest[:i])); line != "" {
			w.line(line)
		}
		w.rest = w.rest[i+1:]
	}
}
