package brain_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestNodeIsCutAndBack stops a node's registrar, as kill -9 of the plugin does, and starts the
// next one. Its seats stay meanwhile. A node that does not come back is lost with its seats.
func TestNodeIsCutAndBack(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 0, Max: 3})
	b := s.brain("b1")
	s.nomad.change(func(j brain.Jobs) {
		j.Children["game/dispatch-v1-1"] = brain.Child{ID: "game/dispatch-v1-1", App: "game", Version: 1, State: brain.ChildRunning,
			Alloc: "a", Node: consulNode, Token: "s-somebody", Created: time.Now()}
	})
	x := s.seat("game", "game/dispatch-v1-1", "a", wire.SeatIdle)
	s.until("the seat is idle", func() bool { return b.Idle("game") == 1 })
	s.here.stop()
	s.here = s.node("here")
	x.mu.Lock()
	x.node = s.here
	x.tell()
	x.mu.Unlock()
	later := s.brain("b2") // which has never heard of the first registrar
	s.until("a brain that comes later has the seat", func() bool { return later.Idle("game") == 1 })
	x.set(wire.SeatStarting)
	s.until("both follow the next registrar", func() bool { return b.Idle("game") == 0 && later.Idle("game") == 0 })
	x.set(wire.SeatIdle)
	s.until("and again", func() bool { return b.Idle("game") == 1 && later.Idle("game") == 1 })

	// While nobody tells of it, it is offered to nobody; and it is there again with its node.
	s.here.stop()
	s.until("the node is lost", func() bool { return b.Idle("game") == 0 && later.Idle("game") == 0 })
	s.here = s.node("here")
	x.mu.Lock()
	x.node = s.here
	x.tell()
	x.mu.Unlock()
	s.until("the node is back", func() bool { return b.Idle("game") == 1 && later.Idle("game") == 1 })
}

// TestWhoTellsOfSeats: only registrars can. A brain and a router are refused.
func TestWhoTellsOfSeats(t *testing.T) {
	s := newSite(t)
	b := s.brain("b1")
	for what, client := range map[string]*http.Client{"a router": asRouter(), "a brain": as(b.me), "a stranger": as(testkit.Identity(t))} {
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		_, res, err := websocket.Dial(ctx, b.internal+wire.FeedPath, &websocket.DialOptions{HTTPClient: client})
		cancel()
		if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v, %+v", what, err, res)
		}
	}
}

// TestNodeOnlyTellsOfItself: a node that was taken over tells of a seat that another node
// has, and of more than it may.
func TestNodeOnlyTellsOfItself(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 3})
	b := s.brain("b1")
	s.nomad.change(func(j brain.Jobs) {
		j.Children["game/dispatch-v1-1"] = brain.Child{ID: "game/dispatch-v1-1", App: "game", Version: 1, State: brain.ChildRunning,
			Alloc: "a", Node: "another-node", Token: "s-somebody", Created: time.Now()}
		j.Children["game/dispatch-v1-2"] = brain.Child{ID: "game/dispatch-v1-2", App: "game", Version: 1, State: brain.ChildRunning,
			Alloc: "b", Node: consulNode, Token: "s-somebody", Created: time.Now()}
	})
	s.here.seats.Set("a", wire.Seat{ID: "a", App: "game", Job: "game/dispatch-v1-1", Node: "another-node", Version: 1, State: wire.SeatIdle})
	s.seat("game", "game/dispatch-v1-2", "b", wire.SeatIdle)
	s.until("its own seat is idle, and the other one is not", func() bool { return b.Idle("game") == 1 })

	liar := s.node("liar")
	defer liar.stop()
	liar.seats.Set("x", wire.Seat{ID: "not-x", App: "game"})
	for i := range 50 {
		liar.seats.Set(fmt.Sprint(i), wire.Seat{ID: fmt.Sprint(i), App: "game", State: wire.SeatIdle})
	}
	// The other feed of the node goes on.
	s.at("b").set(wire.SeatStarting)
	s.until("the honest registrar is followed", func() bool { return b.Idle("game") == 0 })
}
