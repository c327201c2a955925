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
)

func start(t *testing.T, cred *syscall.Credential) (*Server, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sound")
	if cred != nil { // its user must be able to reach it
		for d := filepath.Dir(dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s, err := Start(ctx, Config{Dir: dir, Credential: cred})
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// play plays a short tone, as an app does. It fails if the client wrote to its home.
func play(t *testing.T, s *Server, cred *syscall.Credential) {
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("play: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(home, ".config", "pulse")); err == nil {
		t.Error("a client wrote a cookie into its home")
	}
}

func TestPlay(t *testing.T) {
	defer goleak.VerifyNone(t)
	s, dir := start(t, nil)
	play(t, s, nil)
	pid := s.PID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !gone(pid) {
		t.Error("the server outlives Close")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("Close left the directory: %v", err)
	}
	if s.Err() != nil {
		t.Errorf("Err after Close: %v", s.Err())
	}
}

func TestPlayAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cred := &syscall.Credential{Uid: 65534, Gid: 65534}
	s, dir := start(t, cred)
	play(t, s, cred)
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != cred.Uid {
		t.Errorf("directory is %v, err %v", info.Mode(), err)
	}
}

func TestServerDies(t *testing.T) {
	s, _ := start(t, nil)
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

func TestStartAfterKilledServer(t *testing.T) {
	s, dir := start(t, nil)
	syscall.Kill(s.PID(), syscall.SIGKILL)
	<-s.Done()
	again, err := Start(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	play(t, again, nil)
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "s")}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Start: %v", err)
	}
	if _, err := Version(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Version: %v", err)
	}
}

func TestBadDirectory(t *testing.T) {
	if _, err := Start(t.Context(), Config{Dir: "relative"}); err == nil {
		t.Error("a relative directory was accepted")
	}
	missing := filepath.Join(t.TempDir(), "no", "such")
	if _, err := Start(t.Context(), Config{Dir: missing}); err == nil {
		t.Error("a directory with a missing parent was accepted")
	}
}
