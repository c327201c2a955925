// Package sound runs a PulseAudio server for one seat. The app plays into a null
// sink, and a capture of Source reads what it plays.
//
//	s, err := sound.Start(ctx, sound.Config{Dir: filepath.Join(seatDir, "sound")})
//	…                        // start the app with s.Env()
//	capture.StartAudio(ctx, capture.AudioConfig{PulseServer: s.Server(), Cookie: s.Cookie(), Source: sound.Source})
//	…
//	s.Close()
//
// Only the server's user and root can connect: the socket lies in a directory
// that no other user can enter. The server loads only the sink and the socket. So
// it needs no D-Bus, no session and no home directory, and leaves nothing outside
// Config.Dir. It dies with the process that started it.
//
// If Start returns ErrNotInstalled, a seat can run without sound.
package sound

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
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

// Config says where the server runs, and as which user.
type Config struct {
	// Dir holds socket and state. Start makes it, Close removes it. The server's
	// user must be able to reach it. Its path has at most 90 bytes, because the
	// path of a Unix socket is limited.
	Dir string
	// Credential is the user of server and app; nil is the user of this process.
	Credential *syscall.Credential
	Log        *slog.Logger // nil is slog.Default()
}

// Server is one running sound server.
type Server struct {
	cfg  Config
	log  *slog.Logger
	cmd  *exec.Cmd
	done chan struct{}

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
	if !filepath.IsAbs(cfg.Dir) || len(cfg.Dir) > 90 {
		return nil, fmt.Errorf("sound directory %q must be an absolute path of at most 90 bytes", cfg.Dir)
	}
	s := &Server{cfg: cfg, log: cfg.Log, done: make(chan struct{})}
	if err := s.prepare(); err != nil {
		os.RemoveAll(cfg.Dir)
		return nil, err
	}
	s.cmd = s.command(program)
	started := make(chan error)
	go s.run(started)
	if err := <-started; err != nil {
		os.RemoveAll(cfg.Dir)
		return nil, fmt.Errorf("start pulseaudio: %w", err)
	}
	if err := s.wait(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) socket() string { return filepath.Join(s.cfg.Dir, "native") }

// Cookie is the client cookie file, for capture.
func (s *Server) Cookie() string { return filepath.Join(s.cfg.Dir, "cookie") }

// prepare makes the directory, in place of what a killed stream host left.
func (s *Server) prepare() error {
	if err := os.RemoveAll(s.cfg.Dir); err != nil {
		return fmt.Errorf("clear sound directory: %w", err)
	}
	if err := os.Mkdir(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make sound directory: %w", err)
	}
	// Without it, clients would make a cookie in the user's home.
	cookie := make([]byte, 256)
	rand.Read(cookie)
	if err := os.WriteFile(s.Cookie(), cookie, 0o600); err != nil {
		return fmt.Errorf("write sound cookie: %w", err)
	}
	if c := s.cfg.Credential; c != nil {
		for _, path := range []string{s.Cookie(), s.cfg.Dir} {
			if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
				return fmt.Errorf("give sound directory to its user: %w", err)
			}
		}
	}
	return nil
}

func (s *Server) command(program string) *exec.Cmd {
	cmd := exec.Command(program, "-n", "--daemonize=no", "--use-pid-file=no", "--system=no", "--fail=yes",
		"--exit-idle-time=-1", "--high-priority=no", "--realtime=no", "--disallow-module-loading=no",
		// The sound goes through the socket: shared memory could outlive a killed
		// server, and an isolated app cannot use it.
		"--disable-shm=yes", "--log-target=stderr", "--log-level=error",
		"--load=module-null-sink sink_name="+sink+" rate=48000 channels=2 format=s16le",
		// The mode of the directory excludes other users. Root, which captures, can enter.
		"--load=module-native-protocol-unix auth-anonymous=1 auth-cookie-enabled=0 socket="+s.socket())
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.cfg.Dir, "LANG=C.UTF-8",
		"XDG_RUNTIME_DIR=" + s.cfg.Dir, "XDG_CONFIG_HOME=" + s.cfg.Dir,
		"PULSE_RUNTIME_PATH=" + s.cfg.Dir, "PULSE_STATE_PATH=" + s.cfg.Dir, "PULSE_COOKIE=" + s.Cookie(),
	}
	cmd.Dir = s.cfg.Dir
	cmd.Stderr = &logWriter{log: s.log}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: s.cfg.Credential}
	return cmd
}

// run starts the server and waits for its end, on one thread: the kernel kills
// the server when the thread that started it ends, not only when the process ends.
func (s *Server) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := s.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	err := s.cmd.Wait()
	s.mu.Lock()
	if !s.closed {
		s.err = ErrServerDied
		if err != nil {
			s.err = fmt.Errorf("%w: %w", ErrServerDied, err)
		}
	}
	s.mu.Unlock()
	close(s.done)
}

// wait returns when the server accepts connections.
func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", s.socket()); err == nil {
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
	return []string{"PULSE_SERVER=" + s.Server(), "PULSE_COOKIE=" + s.Cookie(), "PULSE_SINK=" + sink}
}

// Server is the address for capture: "unix:/…/native".
func (s *Server) Server() string { return "unix:" + s.socket() }

// PID is the server's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

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

// Close ends the server and removes its directory.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	select {
	case <-s.done:
	default:
		s.cmd.Process.Signal(syscall.SIGTERM)
		timeout := time.NewTimer(closeTimeout)
		defer timeout.Stop()
		select {
		case <-s.done:
		case <-timeout.C:
			s.cmd.Process.Kill()
			<-s.done
		}
	}
	if err := os.RemoveAll(s.cfg.Dir); err != nil {
		return fmt.Errorf("remove sound directory: %w", err)
	}
	return nil
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
