package brain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// Two brains choose the seat on the calm node first, though the other is idle for longer. When
// only the seat of the full node is left, the next person gets it: a class refuses nobody.
func TestTwoBrainsChooseTheCalmNode(t *testing.T) {
	for _, first := range []int{0, 1} {
		t.Run(fmt.Sprintf("brain %d first", first), func(t *testing.T) { twoBrains(t, first) })
	}
}

func twoBrains(t *testing.T, first int) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 2})
	s.nomad.placed = s.ready
	brains := []*replica{s.brain("b1"), s.brain("b2")}
	s.nomad.change(func(j brain.Jobs) {
		for _, n := range []string{"full", "calm"} {
			j.Children["game/dispatch-v1-x"+n] = brain.Child{ID: "game/dispatch-v1-x" + n, App: "game", Version: 1,
				Alloc: n, Node: consulNode, State: brain.ChildRunning, Created: time.Now()}
		}
	})
	for _, n := range []string{"full", "calm"} { // the full one is idle longer
		x := s.seat("game", "game/dispatch-v1-x"+n, n, wire.SeatIdle)
		x.mu.Lock()
		x.rec.Load = wire.LoadClass(n)
		x.tell()
		x.mu.Unlock()
	}
	s.until("both brains know both seats and their nodes", func() bool {
		return brains[0].Idle("game") == 2 && brains[1].Idle("game") == 2 && brains[0].FirstFree("game") == "calm" && brains[1].FirstFree("game") == "calm"
	})
	if got := s.play(brains[first], "game").expect(wire.MsgGranted).Grant.Seat; got != "calm" {
		t.Errorf("brain %d gave %s first", first, got)
	}
	if got := s.play(brains[1-first], "game").expect(wire.MsgGranted).Grant.Seat; got != "full" {
		t.Errorf("the other brain gave %s then", got)
	}
}
