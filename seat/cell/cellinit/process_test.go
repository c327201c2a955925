package cellinit_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

// Programs other than the app may be started again; so one cell is enough.
func TestExitIsExact(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		for _, x := range []struct {
			script string
			want   cell.Result
		}{
			{"exit 0", cell.Result{}},
			{"exit 3", cell.Result{ExitCode: 3}},
			{"exit 137", cell.Result{ExitCode: 137}},
			{"kill -ABRT $$", cell.Result{Signal: int(unix.SIGABRT)}},
			{"kill -KILL $$", cell.Result{Signal: int(unix.SIGKILL)}},
			{"kill -SEGV $$", cell.Result{Signal: int(unix.SIGSEGV)}},
		} {
			p := script(t, c, "server", x.script)
			if got := p.wait(t); got != x.want {
				t.Errorf("%s: %+v, want %+v", x.script, got, x.want)
			}
			if err := p.Signal(int(unix.SIGHUP), false); err != nil {
				t.Errorf("signal after the end: %v", err)
			}
		}
		if got := script(t, c, cell.App, "exit 4").wait(t); got.ExitCode != 4 {
			t.Errorf("app: %+v", got)
		}
		if _, err := os.Stat(filepath.Join(c.Dir, "core")); err == nil {
			t.Error("there is a core file")
		}
	})
}

func TestSignal(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		// A shell runs a trap only after its child has ended: so only a signal to the
		// group ends this one.
		p := script(t, c, cell.App, `trap 'echo got; exit 4' HUP; (trap 'exit 1' HUP; echo up; while :; do sleep 0.01; done); sleep 1000`)
		if p.PID == 0 {
			t.Error("the app's pid is not known")
		}
		p.line(t)
		testkit.Must(t, p.Signal(int(unix.SIGHUP), true))
		if line := p.line(t); line != "got" {
			t.Errorf("it printed %q", line)
		}
		if got := p.wait(t); got.ExitCode != 4 {
			t.Errorf("%+v", got)
		}
	})
}

// TestSignalToMain: the other processes of the group get nothing.
func TestSignalToMain(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		p := script(t, c, cell.App, `(trap 'echo child' HUP; echo up; while :; do sleep 0.01; done) & trap 'echo main; exit 5' HUP; echo up; while :; do sleep 0.01; done`)
		p.line(t)
		p.line(t)
		testkit.Must(t, p.Signal(int(unix.SIGHUP), false))
		if line := p.line(t); line != "main" {
			t.Errorf("it printed %q", line)
		}
		if got := p.wait(t); got.ExitCode != 5 {
			t.Errorf("%+v", got)
		}
	})
}

// orphans leaves two processes that have other parents, sessions and groups than the
// app, and ignore what can be ignored.
const orphans = `setsid sh -c '(trap "" TERM HUP INT; setsid sleep 1000 & setsid sleep 1000) &' &`

func TestEndOfAppEndsOrphans(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		server := script(t, c, "server", `echo up; exec sleep 1000`)
		server.line(t)
		fifo := filepath.Join(c.Dir, "go")
		p := script(t, c, cell.App, `mkfifo go; `+orphans+` read x < go; exit 5`)
		var all []int
		testkit.Until(t, "orphans", func() bool { all = pids(c); return sleepers(all) == 3 })
		testkit.Must(t, os.WriteFile(inRoot(c, fifo), []byte("x\n"), 0))
		if got := p.wait(t); got.ExitCode != 5 {
			t.Errorf("%+v", got)
		}
		// When the end is reported, all have ended; but not the server.
		if left := pids(c); !slices.Equal(left, []int{server.PID}) {
			t.Errorf("left are %v, the server is %d", left, server.PID)
		}
	})
}

func TestKill(t *testing.T) {
	modes(t, testcell.Options{}, func(t *testing.T, c *testcell.Cell) {
		server := script(t, c, "server", `echo up; exec sleep 1000`)
		server.line(t)
		p := script(t, c, cell.App, orphans+`trap '' TERM; echo up; while :; do sleep 0.01; done`)
		p.line(t)
		testkit.Until(t, "orphans", func() bool { return sleepers(pids(c)) == 3 })
		testkit.Must(t, c.Freeze())
		testkit.Must(t, c.Kill())
		if got := p.wait(t); got.Signal != int(unix.SIGKILL) {
			t.Errorf("%+v", got)
		}
		if left := pids(c); !slices.Equal(left, []int{server.PID}) {
			t.Errorf("left are %v, the server is %d", left, server.PID)
		}
	})
}

// TestEnvironment: the mark of the seat comes once, and a program cannot replace it.
func TestEnvironment(t *testing.T) {
	modes(t, testcell.Options{Env: []string{"NEARCAST_NONCE=mark"}}, func(t *testing.T, c *testcell.Cell) {
		p := run(t, c, cell.Program{Name: cell.App, Path: "/bin/cat", Args: []string{"cat", "/proc/self/environ"},
			Env: []string{"A=1", "NEARCAST_NONCE=forged", "B=2"}, Dir: c.Dir})
		p.wait(t)
		text, err := p.read.ReadString(0xff)
		if err == nil {
			t.Fatal("no end")
		}
		got := strings.Split(strings.TrimSuffix(text, "\x00"), "\x00")
		slices.Sort(got)
		if want := []string{"A=1", "B=2", "NEARCAST_NONCE=mark"}; !slices.Equal(got, want) {
			t.Errorf("environment %q, want %q", got, want)
		}
	})
}
