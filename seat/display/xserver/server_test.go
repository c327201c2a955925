package xserver

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/display/x11"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testConfig(t *testing.T, server wire.XServer) Config {
	t.Helper()
	cfg := Config{Width: 160, Height: 128, Server: server, Cookie: x11.NewCookie(), Dir: t.TempDir(),
		Runner: cell.Local{Dir: t.TempDir()}, Log: slog.New(slog.DiscardHandler)}
	testkit.Must(t, cfg.Runner.WriteFile(AuthorityPath(cfg.Runner), x11.Authority(cfg.Cookie)))
	return cfg
}

func TestTakenNumberIsAnError(t *testing.T) { testkit.EachDisplay(t, takenNumberIsAnError) }

func takenNumberIsAnError(t *testing.T, kind wire.XServer) {
	first, err := startAt(testkit.Context(t, time.Minute), testConfig(t, kind), 59_001)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := startAt(testkit.Context(t, time.Minute), testConfig(t, kind), 59_001)
	if !errors.Is(err, errTaken) {
		t.Errorf("a second server on the display: %v", err)
	}
	if second != nil {
		second.Close()
	}
	if err := first.Err(); err != nil {
		t.Errorf("the first server: %v", err)
	}
}

// Displays that start while others end do not remove each other's sockets.
func TestStartsWhileOthersEnd(t *testing.T) { testkit.EachDisplay(t, startsWhileOthersEnd) }

func startsWhileOthersEnd(t *testing.T, kind wire.XServer) {
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 5 {
				s, err := Start(testkit.Context(t, time.Minute), testConfig(t, kind))
				if err != nil {
					t.Error(err)
				} else {
					s.Close()
				}
			}
		})
	}
	all.Wait()
}

// The input devices are connected with this process, and nobody else can connect: their
// sockets have no name any more.
func TestDevicesAreTaken(t *testing.T) {
	for _, touch := range []bool{false, true} {
		cfg := testConfig(t, testkit.Xdummy(t))
		cfg.Touch = touch
		s, err := Start(testkit.Context(t, time.Minute), cfg)
		testkit.Must(t, err)
		defer s.Close()
		if d := s.Devices(); d.Wheel == nil || (d.Touch != nil) != touch {
			t.Errorf("the devices are %+v", d)
		}
		names, err := filepath.Glob(cfg.Runner.Runtime() + "/*")
		testkit.Must(t, err)
		for _, name := range names {
			if info, err := os.Lstat(name); err == nil && info.Mode()&os.ModeSocket != 0 {
				t.Errorf("%s can still be connected to", name)
			}
		}
		if len(names) == 0 {
			t.Error("nothing was looked at")
		}
	}
}

// What Xorg says of its own failure is in the error.
func TestXdummyFails(t *testing.T) {
	cfg := testConfig(t, testkit.Xdummy(t))
	cfg.Runner = lostFiles{cell.Local{Dir: t.TempDir()}}
	s, err := Start(testkit.Context(t, time.Minute), cfg)
	if err == nil {
		s.Close()
		t.Fatal("it starts without its configuration")
	}
	if !strings.Contains(err.Error(), "no screens found") {
		t.Errorf("the error is %q", err)
	}
}

// lostFiles is a cell whose files are gone as soon as they are written.
type lostFiles struct{ cell.Local }

func (lostFiles) WriteFile(string, []byte) error { return nil }
