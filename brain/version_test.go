package brain_test

import (
	"testing"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// A person that asks for a version gets it, or is told that it is not available.
func TestVersionAskedFor(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 4, Max: 5})
	published := s.published("game")
	b := s.brain("b1")
	child := func(id, alloc string, version uint64) {
		s.nomad.change(func(j brain.Jobs) {
			j.Children[id] = brain.Child{ID: id, App: "game", Version: version, State: brain.ChildRunning, Alloc: alloc, Node: consulNode, Token: "s-somebody"}
		})
	}
	if p := s.playVersion(b, "game", 3).expect(wire.MsgRefused).Problem; p.Type != wire.ProblemNoSite || p.Field != "/version" {
		t.Errorf("refused %+v", p)
	}
	if p := s.playVersion(b, "game", 5).expect(wire.MsgRefused).Problem; p.Type != wire.ProblemNoSite {
		t.Errorf("refused %+v", p)
	}
	if n := s.nomad.dispatched(); n != 0 {
		t.Errorf("%d seats for people that cannot be served", n)
	}
	// A seat of the old version starts. The person that asked for that version
	// waits for it; the person that asked for the new version gets another seat.
	child("game/dispatch-v3-7", "old", 3)
	x := s.seat("game", "game/dispatch-v3-7", "old", wire.SeatStarting)
	s.nomad.mu.Lock()
	s.nomad.placed = s.ready
	s.nomad.mu.Unlock()
	s.until("the old seat is published", func() bool { return published().Capacity.Starting == 1 })
	old := s.playVersion(b, "game", 3)
	old.expect(wire.MsgStarting)
	newest := s.playVersion(b, "game", 4)
	if got := newest.expect(wire.MsgGranted).Grant.Seat; got == "old" {
		t.Error("asked for version 4 and got 3")
	}
	x.set(wire.SeatIdle)
	if got := old.expect(wire.MsgGranted).Grant.Seat; got != "old" {
		t.Errorf("asked for version 3 and got seat %s", got)
	}
}
