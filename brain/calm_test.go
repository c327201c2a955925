package brain

import (
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// The free seats of an app have the same order at all brains, in whatever order they learn of
// them: those on calm nodes first, and there those that are idle longest; those last that are on
// a node which the cloud advises to leave.
func TestCalmFirst(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	seats := []wire.Seat{
		{ID: "leaving", Load: wire.LoadLeaving, Since: at.Add(-time.Second)},
		{ID: "full-old", Load: wire.LoadFull, Since: at},
		{ID: "busy", Load: wire.LoadBusy, Since: at.Add(time.Second)},
		{ID: "calm-new", Load: wire.LoadCalm, Since: at.Add(4 * time.Second)},
		{ID: "earlier-release", Since: at.Add(2 * time.Second)},
		{ID: "unknown", Load: "hot", Since: at.Add(3 * time.Second)},
	}
	want := []string{"earlier-release", "unknown", "calm-new", "busy", "full-old", "leaving"}
	order := func(order []int, last wire.LoadClass) (got []string) {
		s := newLineSite(t)
		for _, i := range order {
			seat := seats[i]
			seat.App, seat.Job, seat.Version, seat.State, seat.Node = game, seat.ID, 1, wire.SeatIdle, "node-"+seat.ID
			s.jobsChanged(JobsChange{Children: map[string]Child{seat.ID: {ID: seat.ID, App: game, Version: 1, Alloc: seat.ID, Node: seat.Node, State: ChildRunning, Created: s.at}}})
			s.nodeSaid(node{seat.Node, seat.Node}, true, map[string]wire.Seat{seat.ID: seat}, nil)
			if seat.ID == "busy" && last != "" {
				seat.Load = last
				s.nodeSaid(node{seat.Node, seat.Node}, false, map[string]wire.Seat{seat.ID: seat}, nil)
			}
		}
		for _, u := range s.view.apps[game].free {
			got = append(got, u.child.ID)
		}
		if wrong := s.inconsistent(); wrong != "" {
			t.Error(wrong)
		}
		return got
	}
	for _, o := range [][]int{{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {2, 0, 4, 1, 5, 3}} {
		if got := order(o, ""); !slices.Equal(got, want) {
			t.Errorf("seats told in the order %v: %v, want %v", o, got, want)
		}
	}
	// The class of a node changes.
	if got := order([]int{0, 1, 2, 3, 4, 5}, wire.LoadCalm); got[0] != "busy" {
		t.Errorf("a node that is calm again: %v", got)
	}
}
