// Package sound runs a PulseAudio server for one seat. The app plays into a null
// sink, and a capture of Source reads what it plays.
//
//	s, err := sound.Start(ctx, sound.Config{Runner: cell})
//	…                        // start the app with s.Env()
//	capture.StartAudio(ctx, capture.AudioConfig{PulseServer: s.Server(), Cookie: s.Cookie(), Source: sound.Source})
//	…
//	s.Close()
//
// The server runs beside the app, as the app's user and in its cell. It loads only the
// sink and the socket; then it loads no module for anybody. A client must know its
// cookie. It needs no D-Bus, no session and no home directory.
//
// This process reaches the socket and the cookie by descriptors that were made before
// the app started, not by paths, which the app could change.
//
// If Start returns ErrNotInstalled, a seat can run without sound.
package sound

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/seat/cell"
)

var (
	// ErrNotInstalled means that this node has no PulseAudio.
	ErrNotInstalled = errors.New("pulseaudio is not installed")
	// ErrServerDied is returned by Err if the server ended by itself.
	ErrServerDied = errors.New("sound server died")
)

const (
	sink = "nearcast"
	// Source is the PulseAudio source with the app's sound.
	Source = sink + ".monitor"
)

// startTimeout bounds the start, in addition to the context.
const startTimeout = 5 * time.Second

// Config says where the server runs.
type Config struct {
	// Runner runs the server. Socket and state are in its Runtime directory, whose
	// path has at most 90 bytes, because the path of a Unix socket is limited.
	Runner cell.Runner
	Log    *slog.Logger // nil is slog.Default()
}

// Server is one running sound server.
type Server struct {
	dir     string // as the app sees it
	log     *slog.Logger
	process *cell.Process
	done    chan struct{}
	socket  *os.File // made with O_PATH
	cookie  *os.File

	mu     sync.Mutex
	closed bool
	err    error
}

// Start starts a server and returns when it accepts connections. The context
// bounds the start only. The server runs until Close.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	program, err := exec.LookPath("pulseaudio")
	if err != nil {
		return nil, ErrNotInstalled
	}
	dir := cfg.Runner.Runtime()
	if !filepath.IsAbs(dir) || len(dir) > 90 {
		return nil, fmt.Errorf("sound directory %q must be an absolute path of at most 90 bytes", dir)
	}
	s := &Server{dir: dir, log: cfg.Log, done: make(chan struct{})}
	if err := s.start(ctx, cfg.Runner, program); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) socketPath() string { return filepath.Join(s.dir, "pulse.sock") }
func (s *Server) cookiePath() string { return filepath.Join(s.dir, "pulse.cookie") }

func (s *Server) start(ctx context.Context, runner cell.Runner, program string) error {
	secret := make([]byte, 256)
	rand.Read(secret)
	var err error
	if s.cookie, err = cell.MemoryFile("cookie", secret); err != nil {
		return err
	}
	if err := runner.WriteFile(s.cookiePath(), secret); err != nil {
		return fmt.Errorf("write sound cookie: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	s.process, err = runner.Start(ctx, s.program(program), nil, nil, w)
	w.Close()
	if err != nil {
		r.Close()
		return fmt.Errorf("start pulseaudio: %w", err)
	}
	go s.run(r)
	if err := s.wait(ctx, runner); err != nil {
		return err
	}
	if s.socket, err = runner.Open(s.socketPath()); err != nil {
		return fmt.Errorf("open the sound server's socket: %w", err)
	}
	return nil
}

func (s *Server) program(path string) cell.Program {
	return cell.Program{
		Name: "sound", Path: path, Dir: s.dir,
		Args: []string{path, "-n", "--daemonize=no", "--use-pid-file=no", "--system=no", "--fail=yes",
			"--exit-idle-time=-1", "--high-priority=no", "--realtime=no",
			// After the modules below. Without it a client could load a module that is a
			// library of its own, or one that listens on a network.
			"--disallow-module-loading=" + yesUnless("sound-modules"), "--disallow-exit=yes",
			// The sound goes through the socket: capture is in another cell than the app.
			"--disable-shm=yes", "--log-target=stderr", "--log-level=error",
			// Without rewinds the sink works in steps of at most 50 ms. Else it may be in the
			// middle of a step of 2 s when the capture connects, and that long there is no sound.
			"--load=module-null-sink sink_name=" + sink + " norewinds=yes rate=48000 channels=2 format=s16le",
			"--load=module-native-protocol-unix auth-anonymous=0 auth-cookie-enabled=1 auth-cookie=" + s.cookiePath() + " socket=" + s.socketPath()},
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8",
			"XDG_RUNTIME_DIR=" + s.dir, "XDG_CONFIG_HOME=" + s.dir,
			"PULSE_RUNTIME_PATH=" + filepath.Join(s.dir, "pulse"), "PULSE_STATE_PATH=" + filepath.Join(s.dir, "pulse"), "PULSE_COOKIE=" + s.cookiePath(),
		},
	}
}

// yesUnless is a value of an option that is a defence.
func yesUnless(defence string) string {
	if cell.Without(defence) {
		return "no"
	}
	return "yes"
}

// run logs what the server prints and waits for its end.
func (s *Server) run(printed *os.File) {
	go func() { // until the server and its children have ended
		defer printed.Close()
		io.Copy(&logWriter{log: s.log}, printed)
	}()
	<-s.process.Done()
	result := s.process.Result()
	s.mu.Lock()
	if !s.closed {
		s.err = fmt.Errorf("%w: exit status %d, signal %d", ErrServerDied, result.ExitCode, result.Signal)
	}
	s.mu.Unlock()
	close(s.done)
}

// wait returns when the server accepts connections.
func (s *Server) wait(ctx context.Context, runner cell.Runner) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := runner.Dial(s.socketPath()); err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-s.done:
			return s.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for pulseaudio: %w", ctx.Err())
		}
	}
}

// Env is the environment with which the app finds the server.
func (s *Server) Env() []string {
	return []string{"PULSE_SERVER=unix:" + s.socketPath(), "PULSE_COOKIE=" + s.cookiePath(), "PULSE_SINK=" + sink}
}

// Server is the address for a capture by this process: "unix:/proc/self/fd/9".
func (s *Server) Server() string { return fmt.Sprintf("unix:/proc/self/fd/%d", s.socket.Fd()) }

// Cookie is the client cookie file, for a capture by this process.
func (s *Server) Cookie() string { return fmt.Sprintf("/proc/self/fd/%d", s.cookie.Fd()) }

// PID is the server's process id.
func (s *Server) PID() int { return s.process.PID }

// Done is closed when the server has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server ended; nil while it runs and after Close.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// closeTimeout is how long the server has to end after SIGTERM.
const closeTimeout = 2 * time.Second

// Close ends the server.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	defer func() {
		for _, f := range []*os.File{s.socket, s.cookie} {
			if f != nil {
				f.Close()
			}
		}
	}()
	if s.process == nil {
		return nil
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := s.process.Signal(int(sig), false); err != nil {
			return fmt.Errorf("end the sound server: %w", err)
		}
		timeout := time.NewTimer(closeTimeout)
		select {
		case <-s.done:
			timeout.Stop()
			return nil
		case <-timeout.C:
		}
	}
	return errors.New("end the sound server: it still runs after SIGKILL")
}

// Version returns the installed server's version, or ErrNotInstalled.
func Version(ctx context.Context) (string, error) {
	program, err := exec.LookPath("pulseaudio")
	if err != nil {
		return "", ErrNotInstalled
	}
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Env = []string{"LANG=C.UTF-8", "HOME=/nonexistent"}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask pulseaudio for its version: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// logWriter logs the server's lines.
type logWriter struct {
	log  *slog.Logger
	rest []byte
}

func (w *logWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 {
			if len(w.rest) > 4<<10 {
				w.rest = nil
			}
			return len(b), nil
		}
		w.log.Debug("pulseaudio", "line", string(bytes.TrimSpace(w.rest[:i])))
		w.rest = w.rest[i+1:]
	}
}
