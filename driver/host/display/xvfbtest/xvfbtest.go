// Package xvfbtest gives tests a display of their own.
package xvfbtest

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Start starts an Xvfb of 1280x720, or as args have it, that ends with the test,
// and returns its name. The user is who runs it; nil is this one. Where Xvfb is
// not installed the test is skipped.
func Start(t testing.TB, user *syscall.Credential, args ...string) (display string, server *exec.Cmd) {
	t.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed (Debian's package is xvfb)")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The server finds a free number itself, and tells it when it is ready.
	server = exec.Command("Xvfb", append([]string{"-displayfd", "3", "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"}, args...)...)
	server.ExtraFiles = []*os.File{w}
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: user}
	err = server.Start()
	w.Close()
	if err != nil {
		t.Fatalf("start Xvfb: %v", err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	r.SetReadDeadline(time.Now().Add(60 * time.Second))
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not come up: %v", err)
	}
	return ":" + strings.TrimSpace(number), server
}
