package display

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
)

func testServer(t *testing.T, number int) (*server, error) {
	t.Helper()
	return startServerAt(within(t), Config{Width: 64, Height: 64, Log: slog.New(slog.DiscardHandler)}, filepath.Join(t.TempDir(), "authority"), number)
}

func TestTakenDisplayIsSaid(t *testing.T) {
	first, err := testServer(t, 59_001)
	if err != nil {
		t.Fatal(err)
	}
	defer first.stop()
	second, err := testServer(t, 59_001)
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

// Displays that begin while others end do not take each other's sockets away.
func TestStartsWhileOthersEnd(t *testing.T) {
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 5 {
				s, err := startServer(within(t), Config{Width: 64, Height: 64, Log: slog.New(slog.DiscardHandler)}, filepath.Join(t.TempDir(), "authority"))
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
