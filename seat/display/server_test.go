package display

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// testConfig is the Config of a server without a cookie.
func testConfig(t *testing.T, server wire.XServer) Config {
	t.Helper()
	cfg := Config{Width: leastWidth, Height: leastHeight, Server: server, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if err := os.WriteFile(filepath.Join(cfg.Dir, configFile), []byte(xorgConfig(server, cfg.Width, cfg.Height, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func testServer(t *testing.T, kind wire.XServer, number int) (*server, error) {
	t.Helper()
	return startServerAt(within(t), testConfig(t, kind), filepath.Join(t.TempDir(), "authority"), number)
}

func TestTakenNumberIsAnError(t *testing.T) { testkit.EachDisplay(t, takenNumberIsAnError) }

func takenNumberIsAnError(t *testing.T, kind wire.XServer) {
	first, err := testServer(t, kind, 59_001)
	if err != nil {
		t.Fatal(err)
	}
	defer first.stop()
	second, err := testServer(t, kind, 59_001)
	if !errors.Is(err, errTaken) {
		t.Errorf("a second server on the display: %v", err)
	}
	if second != nil {
		second.stop()
	}
	if err := first.err(); err != nil {
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
				s, err := startServer(within(t), testConfig(t, kind), filepath.Join(t.TempDir(), "authority"))
				if err != nil {
					t.Error(err)
				} else {
					s.stop()
				}
			}
		})
	}
	all.Wait()
}
