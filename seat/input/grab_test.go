package input

import (
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// late is longer after the cursor was hidden than games take that load nothing.
const late = 1200 * time.Millisecond

// game is a client that grabs the pointer, as games do.
func (s *stage) game() *x11.Client {
	s.t.Helper()
	game, err := x11.Dial(s.d.Dial, s.d.Cookie())
	testkit.Must(s.t, err)
	s.t.Cleanup(game.Close)
	return game
}

func (s *stage) grab(game *x11.Client) {
	s.t.Helper()
	testkit.Until(s.t, "the game grabs the pointer", func() bool {
		r, err := xproto.GrabPointer(game.Conn, false, s.in.root, 0, xproto.GrabModeAsync, xproto.GrabModeAsync, 0, 0, xproto.TimeCurrentTime).Reply()
		return err == nil && r.Status == xproto.GrabStatusSuccess
	})
}

// A game that grabs the pointer late is found: it has loaded a level, or the person held the
// button that starts it.
func TestLateGrab(t *testing.T) {
	testkit.NeedXvfb(t)
	s := newStage(t, wire.XServer{Server: wire.ServerXvfb})
	relative := make(chan bool, 10)
	s.in.Watch(func(on bool) { relative <- on })
	want := func(on bool) {
		t.Helper()
		select {
		case now := <-relative:
			if now != on {
				t.Fatalf("the program reads motion: %v", now)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing was told, want %v", on)
		}
	}
	game := s.game()
	s.in.CursorShown(false)
	<-time.After(late)
	s.grab(game)
	want(true)
	xproto.UngrabPointer(game.Conn, xproto.TimeCurrentTime)
	s.in.CursorShown(true)
	want(false)

	// Its cursor is hidden long before the person presses what starts it.
	s.in.CursorShown(false)
	testkit.Until(t, "the last look for a grab without input", func() bool {
		s.in.mu.Lock()
		defer s.in.mu.Unlock()
		if s.in.hidden {
			s.in.probes.made = len(probeAt)
		}
		return s.in.hidden
	})
	s.apply(wire.Input{Type: wire.InputDown, X: 0.5, Y: 0.5})
	<-time.After(late)
	s.apply(wire.Input{Type: wire.InputUp, X: 0.5, Y: 0.5})
	s.grab(game)
	want(true)
}

// A smaller screen moves the pointer into it: that is no warp of the application's.
func TestResizeIsNoWarp(t *testing.T) {
	testkit.NeedXvfb(t)
	s := newStage(t, wire.XServer{Server: wire.ServerXvfb})
	other := s.game()
	warped := func() bool {
		s.in.mu.Lock()
		defer s.in.mu.Unlock()
		return s.in.warped()
	}
	moves := func() {
		t.Helper()
		s.apply(wire.Input{Type: wire.InputMove, X: 0.9, Y: 0.9})
		// Not the motion that the program hears of, which may be of its own warp before.
		testkit.Until(t, "the pointer is there", func() bool { return !warped() })
		testkit.Must(t, xproto.WarpPointerChecked(other.Conn, 0, s.in.root, 0, 0, 0, 0, 100, 100).Check())
	}
	moves()
	s.in.Resize(width/2, height/2)
	if warped() {
		t.Error("a smaller screen was taken for a warp")
	}
	moves()
	s.in.Resize(width/2, height/2) // another window: the size is the same
	if !warped() {
		t.Error("a warp was not seen")
	}
}
