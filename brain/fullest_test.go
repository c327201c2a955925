package brain

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Of the calm nodes, people get a seat on the one with most people, of whatever app, so that others
// become empty. All brains have the same order, in whatever order they learn of it.
func TestFullestCalmNodeFirst(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	s := newLineSite(t)
	children, nodes := map[string]Child{}, map[string]map[string]wire.Seat{}
	seat := func(node, id, app string, state wire.SeatState, load wire.LoadClass, since time.Duration) {
		x := wire.Seat{ID: id, App: app, Job: id, Version: 1, Node: node, State: state, Load: load, Since: at.Add(since)}
		if state == wire.SeatStreaming {
			x.Session = "session-" + id
		}
		children[id] = Child{ID: id, App: app, Version: 1, Alloc: id, Node: node, State: ChildRunning, Created: s.at}
		if nodes[node] == nil {
			nodes[node] = map[string]wire.Seat{}
		}
		nodes[node][id] = x
	}
	play := func(node string, people int, app string) {
		for i := range people {
			seat(node, fmt.Sprintf("%s-%s%d", node, app, i), app, wire.SeatStreaming, "", 0)
		}
	}
	seat("empty", "empty-a", game, wire.SeatIdle, wire.LoadCalm, 0) // idle for longest
	seat("one", "one-a", game, wire.SeatIdle, wire.LoadCalm, 3*time.Second)
	play("one", 1, game)
	seat("two", "two-new", game, wire.SeatIdle, wire.LoadCalm, 5*time.Second)
	seat("two", "two-old", game, wire.SeatIdle, wire.LoadCalm, 4*time.Second)
	play("two", 1, game)
	play("two", 1, "viewer") // of another app
	seat("five", "five-a", game, wire.SeatIdle, wire.LoadBusy, 0)
	play("five", 5, game)
	s.jobsChanged(JobsChange{Apps: map[string]App{"viewer": {ID: "viewer", Version: 1, Max: 10}}, Children: children})
	tell := func(name string, all bool) { s.nodeSaid(node{name, name}, all, nodes[name], nil) }
	want := func(what string, order ...string) {
		t.Helper()
		var got []string
		for _, u := range s.view.apps[game].free {
			got = append(got, u.child.ID)
		}
		if !slices.Equal(got, order) {
			t.Errorf("%s: %v, want %v", what, got, order)
		}
		if wrong := s.inconsistent(); wrong != "" {
			t.Errorf("%s: %s", what, wrong)
		}
	}
	for range 5 {
		names := []string{"empty", "one", "two", "five"}
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, name := range names {
			tell(name, true)
		}
		want(fmt.Sprint("told in the order ", names), "two-old", "two-new", "one-a", "empty-a", "five-a")
	}
	// People leave: a seat goes, and another is idle again.
	s.nodeSaid(node{"two", "two"}, false, nil, []string{"two-" + game + "0", "two-viewer0"})
	want("nobody plays on node two", "one-a", "empty-a", "two-old", "two-new", "five-a")
	// People come to the empty node.
	seat("empty", "empty-b", game, wire.SeatStreaming, "", 0)
	seat("empty", "empty-c", game, wire.SeatStreaming, "", 0)
	s.jobsChanged(JobsChange{Children: children})
	tell("empty", false)
	want("two play on node empty", "empty-a", "one-a", "two-old", "two-new", "five-a")
}
