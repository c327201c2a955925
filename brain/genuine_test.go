package brain_test

import (
	"testing"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// Who may register seats in Consul could catch people, and feign capacity. So only seats that Nomad knows, on
// the node where they are, are offered and counted.
func TestSeatsThatNomadDoesNotKnow(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 9, Max: 20}, brain.App{ID: "other", Version: 1, Max: 5})
	b := s.brain("b1")
	child := func(id, app, alloc, node string, state brain.ChildState) {
		s.nomad.change(func(j brain.Jobs) {
			j.Children[id] = brain.Child{ID: id, App: app, Version: 1, State: state, Alloc: alloc, Node: node, Token: "s-somebody"}
		})
	}
	child("game/dispatch-v1-91", "game", "elsewhere", "another-node", brain.ChildRunning)
	child("game/dispatch-v1-92", "game", "its-alloc", consulNode, brain.ChildRunning)
	child("other/dispatch-v1-93", "other", "of-other", consulNode, brain.ChildRunning)
	child("game/dispatch-v1-94", "game", "dead", consulNode, brain.ChildDead)
	strangers := []*seat{
		s.seat("game", "game/dispatch-v1-90", "unknown", wire.SeatIdle),
		s.seat("game", "game/dispatch-v1-91", "elsewhere", wire.SeatIdle),
		s.seat("game", "game/dispatch-v1-92", "another-alloc", wire.SeatIdle),
		s.seat("game", "other/dispatch-v1-93", "of-other", wire.SeatIdle),
		s.seat("game", "game/dispatch-v1-94", "dead", wire.SeatIdle),
	}
	published := s.published("game")
	s.until("the seats that have no child are not counted", func() bool { return published().ID != "" && published().Capacity.Idle == 0 })
	child("game/dispatch-v1-95", "game", "real", consulNode, brain.ChildRunning)
	s.seat("game", "game/dispatch-v1-95", "real", wire.SeatIdle)
	s.until("the real seat is counted", func() bool { return published().Capacity.Idle == 1 })
	if got := s.play(b, "game").expect(wire.MsgGranted).Grant.Seat; got != "real" {
		t.Errorf("granted seat %s", got)
	}
	for _, x := range strangers {
		x.mu.Lock()
		if x.grants > 0 {
			t.Errorf("seat %s was claimed", x.rec.ID)
		}
		x.mu.Unlock()
	}
}
