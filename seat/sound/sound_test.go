package sound

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/seat/cell"
)

func start(t *testing.T) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s, err := Start(ctx, Config{Runner: cell.Local{Dir: t.TempDir()}})
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// play plays a short tone, as an app does. It fails if the client wrote to its home.
func play(t *testing.T, s *Server) {
	t.Helper()
	if _, err := exec.LookPath("gst-launch-1.0"); err != nil {
		s.Close() // before tests check what is left
		t.Skip("gst-launch-1.0 is not installed")
	}
	home := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "gst-launch-1.0", "-q", "audiotestsrc", "num-buffers=20", "!", "pulsesink")
	cmd.Env = append(s.Env(), "PATH="+os.Getenv("PATH"), "HOME="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("play: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(home, ".config", "pulse")); err == nil {
		t.Error("a client wrote a cookie into its home")
	}
}

func TestPlay(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := start(t)
	play(t, s)
	pid := s.PID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !gone(pid) {
		t.Error("the server outlives Close")
	}
	if s.Err() != nil {
		t.Errorf("Err after Close: %v", s.Err())
	}
}

func TestServerDies(t *testing.T) {
	s := start(t)
	if err := syscall.Kill(s.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("Done was not closed in time")
	}
	if !errors.Is(s.Err(), ErrServerDied) {
		t.Errorf("Err is %v", s.Err())
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), Config{Runner: cell.Local{Dir: t.TempDir()}}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Start: %v", err)
	}
	if _, err := Version(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Version: %v", err)
	}
}

func TestBadDirectory(t *testing.T) {
	if _, err := Start(t.Context(), Config{Runner: cell.Local{Dir: "relative"}}); err == nil {
		t.Error("a relative directory was accepted")
	}
	missing := filepath.Join(t.TempDir(), "no", "such")
	if _, err := Start(t.Context(), Config{Runner: cell.Local{Dir: missing}}); err == nil {
		t.Error("a missing directory was accepted")
	}
}
