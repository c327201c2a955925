package display

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/x11"
	"github.com/nearcast/nearcast/seat/display/xserver"
)

func TestEntryNeedsTheCookie(t *testing.T) { testkit.EachDisplay(t, entryNeedsTheCookie) }

func entryNeedsTheCookie(t *testing.T, server wire.XServer) {
	d := start(t, server)
	for name, cookie := range map[string]x11.Cookie{"no": {}, "a wrong": x11.NewCookie()} {
		if conn, err := x11.Dial(d.Dial, cookie); err == nil {
			conn.Close()
			t.Fatalf("a client with %s cookie could connect", name)
		}
	}
	info, err := os.Stat(d.Authority())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("cookie file has mode %v", info.Mode())
	}
}

func TestSeveralAtOnce(t *testing.T) { testkit.EachDisplay(t, severalAtOnce) }

func severalAtOnce(t *testing.T, server wire.XServer) {
	type result struct {
		d   *Display
		err error
	}
	const n = 4
	results := make(chan result, n)
	for range n {
		dir := t.TempDir()
		go func() {
			d, err := Start(within(t), Config{Width: leastWidth, Height: leastHeight, Server: server, Runner: cell.Local{Dir: dir}, Dir: dir})
			results <- result{d, err}
		}()
	}
	names := map[string]bool{}
	for range n {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		defer r.d.Close()
		names[r.d.Name()] = true
	}
	if len(names) != n {
		t.Errorf("displays are %v", names)
	}
}

func TestCloseLeavesNothing(t *testing.T) { testkit.EachDisplay(t, closeLeavesNothing) }

func closeLeavesNothing(t *testing.T, server wire.XServer) {
	d := start(t, server)
	n, _ := x11.Number(d.Name())
	files := []string{x11.Socket(n)}
	if server.Server == wire.ServerXorg {
		files = append(files, filepath.Join(d.cfg.Dir, "xorg.conf"), filepath.Join(d.cfg.Dir, "xorg.auth"))
	}
	for _, f := range files {
		if _, err := os.Lstat(f); err != nil {
			t.Errorf("while it runs: %v", err)
		}
	}
	files = append(files, fmt.Sprintf("/tmp/.X%d-lock", n)) // not every server makes one
	d.Close()
	d.Close() // a second time does nothing
	if err := d.Err(); err != nil {
		t.Errorf("Err after Close: %v", err)
	}
	for _, f := range files {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", f, err)
		}
	}
	if err := d.WaitWindow(within(t)); err == nil {
		t.Error("WaitWindow on a closed display returned nil")
	}
}

func TestServerDies(t *testing.T) { testkit.EachDisplay(t, serverDies) }

func serverDies(t *testing.T, server wire.XServer) {
	d := start(t, server)
	syscall.Kill(d.PID(), syscall.SIGKILL)
	err := d.WaitWindow(within(t))
	<-d.Done()
	if !errors.Is(d.Err(), xserver.ErrDied) {
		t.Errorf("Err: %v", d.Err())
	}
	if err == nil {
		t.Error("WaitWindow on a dead display returned nil")
	}
	n, _ := x11.Number(d.Name())
	d.Close()
	if _, err := os.Lstat(x11.Socket(n)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead server's socket is left: %v", err)
	}
}

// TestKilledParentLeavesNothing kills a process that runs a display.
func TestKilledParentLeavesNothing(t *testing.T) { testkit.EachDisplay(t, killedParentLeavesNothing) }

func killedParentLeavesNothing(t *testing.T, server wire.XServer) {
	choice, err := json.Marshal(server)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), "/proc/self/exe", "start-and-wait", t.TempDir(), string(choice))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var number, pid int
	if _, err := fmt.Fscanln(out, &number, &pid); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	testkit.Until(t, "end of the server", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
	for _, f := range []string{x11.Socket(number), fmt.Sprintf("/tmp/.X%d-lock", number)} {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", f, err)
		}
	}
}

func startAndWait(dir, choice string) {
	cfg := Config{Width: leastWidth, Height: leastHeight, Runner: cell.Local{Dir: dir}, Dir: dir}
	err := json.Unmarshal([]byte(choice), &cfg.Server)
	var d *Display
	if err == nil {
		d, err = Start(context.Background(), cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	n, _ := x11.Number(d.Name())
	fmt.Println(n, d.PID())
	<-d.Done()
	os.Exit(0)
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{}, {Width: -1, Height: 5}, {Width: 100000, Height: 100}} {
		c.Runner = cell.Local{Dir: t.TempDir()}
		if d, err := Start(within(t), c); err == nil {
			d.Close()
			t.Errorf("%dx%d was accepted", c.Width, c.Height)
		}
	}
	if d, err := Start(within(t), Config{Width: 64, Height: 64, Runner: cell.Local{Dir: "/nonexistent"}}); err == nil {
		d.Close()
		t.Error("a missing directory was accepted")
	}
	if d, err := Start(within(t), Config{Width: 640, Height: 360, Runner: cell.Local{Dir: t.TempDir()}, Server: testkit.Xorg(t)}); err == nil {
		d.Close()
		t.Error("Xorg without a directory was accepted")
	}
}
