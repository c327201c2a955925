package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/testcell"
)

func TestMain(m *testing.M) {
	testcell.Main()
	goleak.VerifyTestMain(m)
}

// modes runs a test in a cell, and without one.
func modes(t *testing.T, test func(t *testing.T, c *testcell.Cell)) {
	for _, isolate := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolate=%v", isolate), func(t *testing.T) {
			if isolate && os.Geteuid() != 0 {
				t.Skip("to make a cell needs root")
			}
			test(t, testcell.Start(t, testcell.Options{Isolate: isolate}))
		})
	}
}

// start starts an app that is a shell script, and returns when it has printed a line.
func start(t *testing.T, c *testcell.Cell, script string) (p *Process, out io.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	testkit.Must(t, err)
	t.Cleanup(func() { r.Close() })
	p, err = Start(testkit.Context(t, time.Minute), Config{Cell: c.Client, Command: "sh", Args: []string{"-c", script}, Dir: c.Dir, Stdout: w, Stderr: os.Stderr})
	w.Close()
	testkit.Must(t, err)
	r.SetReadDeadline(time.Now().Add(time.Minute))
	for b := []byte{0}; b[0] != '\n'; {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("the app prints nothing: %v", err)
		}
	}
	return p, r
}

func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "the stream host's")
	modes(t, func(t *testing.T, c *testcell.Cell) {
		common := []string{"HOME=" + c.Home(), "PATH=" + defaultPath, "XDG_RUNTIME_DIR=" + c.Runtime()}
		if name := c.User(); name != "" {
			common = append(common, "LOGNAME="+name, "USER="+name)
		}
		slices.Sort(common)
		if env := environment(Config{Cell: c.Client}); !slices.Equal(env, common) {
			t.Errorf("environment %q, want %q", env, common)
		}
		r, w, err := os.Pipe()
		testkit.Must(t, err)
		defer r.Close()
		p, err := Start(testkit.Context(t, time.Minute), Config{Cell: c.Client, Command: "cat", Args: []string{"/proc/self/environ"}, Dir: c.Dir, Stdout: w,
			Env: map[string]string{"HOME": "/x", "PATH": "/bin", "USER": "me", "LOGNAME": "me", "DISPLAY": ":7", "EMPTY": ""}})
		w.Close()
		testkit.Must(t, err)
		b, err := io.ReadAll(r)
		testkit.Must(t, err)
		<-p.Done()
		want := []string{"DISPLAY=:7", "EMPTY=", "HOME=/x", "LOGNAME=me", "PATH=/bin", "USER=me", "XDG_RUNTIME_DIR=" + c.Runtime()}
		if env := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"); !slices.Equal(env, want) {
			t.Errorf("the app has %q, want %q", env, want)
		}
	})
}

func TestStartNeeds(t *testing.T) {
	for code, cfg := range map[string]Config{wire.CodeAppNotFound: {Dir: "/"}, wire.CodeConfig: {Command: "true"}} {
		var end wire.End
		if _, err := Start(t.Context(), cfg); !errors.As(err, &end) || end.Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
}

func TestStopLetsTheAppSave(t *testing.T) {
	modes(t, func(t *testing.T, c *testcell.Cell) {
		p, out := start(t, c, `trap 'echo saved; exit 3' TERM; echo up; sleep 1000 & wait`)
		testkit.Must(t, p.Freeze()) // Stop must thaw it
		testkit.Must(t, p.Stop("", time.Minute))
		if code, sig := p.Exit(); code != 3 || sig != 0 {
			t.Errorf("exit %d, signal %d", code, sig)
		}
		if b, err := io.ReadAll(out); err != nil || string(b) != "saved\n" {
			t.Errorf("it printed %q, %v", b, err)
		}
		testkit.Must(t, p.Stop("", 0)) // twice is harmless
	})
}

func TestStopKills(t *testing.T) {
	modes(t, func(t *testing.T, c *testcell.Cell) {
		p, _ := start(t, c, `trap '' TERM INT; (setsid sleep 1000 &); echo up; while :; do sleep 0.01; done`)
		begin := time.Now()
		testkit.Must(t, p.Stop("SIGINT", 50*time.Millisecond))
		if took := time.Since(begin); took < 50*time.Millisecond || took > killTimeout {
			t.Errorf("it took %v", took)
		}
		if code, sig := p.Exit(); code != 0 || sig != int(unix.SIGKILL) {
			t.Errorf("exit %d, signal %d", code, sig)
		}
		if left := cell.Descendants(p.InitPID(), nil); len(left) > 0 {
			t.Errorf("%d processes are left", len(left))
		}
	})
}

func TestUnknownSignal(t *testing.T) {
	modes(t, func(t *testing.T, c *testcell.Cell) {
		p, out := start(t, c, `trap 'echo hup' HUP; trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done`)
		if err := p.Signal("SIGNAL"); err == nil || !strings.Contains(err.Error(), "SIGNAL") {
			t.Errorf("Signal: %v", err)
		}
		testkit.Must(t, p.Signal("SIGHUP"))
		if b := make([]byte, 4); true {
			if _, err := io.ReadFull(out, b); err != nil || string(b) != "hup\n" {
				t.Errorf("it printed %q, %v", b, err)
			}
		}
		if err := p.Stop("SIGNAL", time.Minute); err == nil || !strings.Contains(err.Error(), "SIGNAL") {
			t.Errorf("Stop: %v", err)
		}
		if code, _ := p.Exit(); code != 4 {
			t.Errorf("exit %d: it got no SIGTERM", code)
		}
	})
}

// TestStopWithoutFirstProcess: the cell is gone.
func TestStopWithoutFirstProcess(t *testing.T) {
	modes(t, func(t *testing.T, c *testcell.Cell) {
		p, _ := start(t, c, `echo up; exec sleep 1000`)
		testkit.Must(t, unix.Kill(p.InitPID(), unix.SIGKILL))
		testkit.Must(t, p.Stop("", time.Minute))
		if _, sig := p.Exit(); sig != int(unix.SIGKILL) {
			t.Errorf("signal %d", sig)
		}
		if p.CPU() != 0 {
			t.Error("an app that is gone computes")
		}
	})
}
