package testkit

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Xvfb starts an Xvfb of 1280x720, or as args have it, that ends with the test,
// and returns its name. The user is who runs it; nil is this one. Where Xvfb is
// not installed the test is skipped.
func Xvfb(t testing.TB, user *syscall.Credential, args ...string) (display string, server *exec.Cmd) {
	t.Helper()
	NeedXvfb(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The server finds a free number itself, and tells it when it is ready.
	server = exec.Command("Xvfb", append([]string{"-displayfd", "3", "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"}, args...)...)
	server.ExtraFiles = []*os.File{w}
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: user}
	p := Start(t, server)
	w.Close()
	t.Cleanup(p.Stop) // so that it removes its socket
	r.SetReadDeadline(time.Now().Add(60 * time.Second))
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not come up: %v", err)
	}
	return ":" + strings.TrimSpace(number), server
}

// NeedXvfb skips a test where Xvfb is not installed.
func NeedXvfb(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed (Debian's package is xvfb)")
	}
}

// Xorg is the server of a seat on a GPU as far as there can be one without: all
// of it but the driver. Where it is not installed the test is skipped.
func Xorg(t testing.TB) wire.XServer {
	t.Helper()
	for file, pkg := range map[string]string{
		"/usr/lib/xorg/Xorg": "xserver-xorg-core", "/usr/lib/xorg/modules/drivers/dummy_drv.so": "xserver-xorg-video-dummy",
	} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%s is missing (Debian's package is %s)", file, pkg)
		}
	}
	return wire.XServer{Server: wire.ServerXorg, Driver: "dummy"}
}

// Xdummy is a display server with input devices. Where it is not installed the test is
// skipped.
func Xdummy(t testing.TB) wire.XServer {
	t.Helper()
	Xorg(t)
	const module = "/usr/lib/xorg/modules/input/inputtest_drv.so"
	if _, err := os.Stat(module); err != nil {
		t.Skipf("%s is missing (Debian's package is xserver-xorg-core)", module)
	}
	return wire.XServer{Server: wire.ServerXdummy}
}

// EachInCell runs a test with each kind of display server that runs in the cell.
func EachInCell(t *testing.T, test func(t *testing.T, server wire.XServer)) {
	t.Run("Xvfb", func(t *testing.T) {
		NeedXvfb(t)
		test(t, wire.XServer{Server: wire.ServerXvfb})
	})
	t.Run("Xdummy", func(t *testing.T) { test(t, Xdummy(t)) })
}

// EachDisplay runs a test with each kind of display server.
func EachDisplay(t *testing.T, test func(t *testing.T, server wire.XServer)) {
	EachInCell(t, test)
	t.Run("Xorg", func(t *testing.T) { test(t, Xorg(t)) })
}
