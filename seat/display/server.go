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

// stopTimeout is how long a server has to end by itself.
const stopTimeout = 3 * time.Second

// program is an X server to run: all in which one kind differs from another.
type program struct {
	name string // as people know it
	path string
	args []string // beside those that every X server gets
	user *syscall.Credential
	// tell makes of what a server that ended printed what people should hear.
	tell func(printed []string) []string
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
	tail     []string // last lines printed, for the error
}

// tailLines is enough for what X servers put after the line that matters.
const tailLines = 12

// Numbers of displays are drawn from here. A server that may choose takes the
// lowest, from which another that is just ending still removes its socket; and
// servers in several network namespaces all take :0, whose socket they share.
// Below are the displays of people, above are ports that do not exist.
const (
	lowestNumber  = 1_000
	highestNumber = 59_000
	attempts      = 5
)

// errTaken says that another server has the number.
var errTaken = errors.New("the display is taken")

// startServer starts an X server on a display of its own and returns once it accepts
// connections.
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
		"-displayfd", "3", // tells when it serves
		"-auth", authority,
		"-dpi", "96",
		"-nolisten", "tcp",
		"-noreset", // the last client's end is not the server's
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
	// Its own environment: the server's user could read ours, with its
	// credentials for the object store, from the server's.
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Credential: p.user,
		Pdeathsig:  syscall.SIGTERM, // so that it removes its lock and socket
	}
	out := &lineWriter{line: s.printed}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second

	// The parent death signal comes when the *thread* that started the child
	// ends, so this one does nothing else until the child is gone.
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.done)
		err := cmd.Start()
		w.Close() // the child's copy alone keeps the pipe open
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

	serves := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		serves <- strings.TrimSpace(line)
	}()
	select {
	case line := <-serves:
		if s.number, err = strconv.Atoi(line); err == nil {
			if s.socket, err = os.Lstat(x11.Socket(s.number)); err != nil {
				s.stop()
				return nil, fmt.Errorf("start %s: it does not listen in %s, where isolated applications look for it: %w", p.name, x11.SocketDir, err)
			}
			return s, nil
		}
		// The pipe was closed without a number: it is ending.
		s.waitOrKill(stopTimeout)
		err := s.errOr("it named no display")
		if text := err.Error(); strings.Contains(text, "already active") || strings.Contains(text, "already running") {
			err = fmt.Errorf("%w: %w", errTaken, err)
		}
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	case <-ctx.Done():
		s.stop()
		return nil, fmt.Errorf("start %s: %w", p.name, ctx.Err())
	}
}

// printed takes a line of the server's output.
func (s *server) printed(line string) {
	s.log.Debug(s.name, "line", line)
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
	how := "exit 0"
	if err != nil {
		how = err.Error()
	}
	s.cause = fmt.Errorf("%w: %s", ErrServerDied, how)
	if lines := s.tell(s.tail); len(lines) > 0 {
		s.cause = fmt.Errorf("%w: %s", s.cause, strings.Join(lines, "; "))
	}
}

func (s *server) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

func (s *server) errOr(what string) error {
	if err := s.err(); err != nil {
		return err
	}
	return errors.New(what)
}

// stop ends the server and removes what it left.
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

// makeSocketDir makes the directory that X servers share, as root's X servers
// do; another user's cannot make it with these rights.
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

// removeLeftovers removes what a server leaves that was killed. Another server
// may have the display's number by now: only what is this one's goes.
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

// lineWriter hands over whole lines.
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
