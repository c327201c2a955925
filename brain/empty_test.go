package brain

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// emptySite is a leader of a site with an app that keeps three seats warm, on three nodes: somebody
// plays on a, which has an idle seat too; b has one idle seat, c has two.
type emptySite struct {
	*lineSite
	seats  map[string]map[string]wire.Seat // by node
	tokens []string                        // of what was dispatched and is not there yet
}

func newEmptySite(t *testing.T) *emptySite {
	s := &emptySite{lineSite: newLineSite(t), seats: map[string]map[string]wire.Seat{}}
	s.setLeading(true)
	s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Warm: 4, Max: 9, Pool: "stream-cpu"}}})
	s.is("a-play", wire.SeatStreaming)
	for _, id := range []string{"a-1", "b-1", "c-1", "c-2"} {
		s.is(id, wire.SeatIdle)
	}
	s.at = s.at.Add(time.Minute)
	return s
}

// is adds a seat, or changes it. Its node is the first letter of its name.
func (s *emptySite) is(id string, state wire.SeatState) {
	on := "node-" + id[:1]
	child := Child{ID: id, App: game, Version: 1, Alloc: id, Node: on, State: ChildRunning, Created: s.at}
	if _, there := s.seats[on][id]; !there && len(s.tokens) > 0 {
		child.Token, s.tokens = s.tokens[0], s.tokens[1:]
	}
	s.jobsChanged(JobsChange{Children: map[string]Child{id: child}})
	if s.seats[on] == nil {
		s.seats[on] = map[string]wire.Seat{}
	}
	seat := wire.Seat{ID: id, App: game, Job: id, Version: 1, Node: on, State: state, Since: s.at}
	if state.Busy() {
		seat.Session = "session-" + id
	}
	s.seats[on][id] = seat
	s.nodeSaid(node{on, on}, true, s.seats[on], nil)
}

// dies has a seat end as Nomad says it.
func (s *emptySite) dies(ids ...string) {
	for _, id := range ids {
		on := "node-" + id[:1]
		delete(s.seats[on], id)
		s.nodeSaid(node{on, on}, true, s.seats[on], nil)
		s.jobsChanged(JobsChange{Children: map[string]Child{id: {ID: id, App: game, Version: 1, Alloc: id, Node: on, State: ChildDead, End: &wire.End{Reason: wire.ReasonRetired}}}})
	}
}

// wants has the autoscaler say how many nodes are needed, and returns what is retired then, and
// how many seats are dispatched.
func (s *emptySite) wants(nodes int) (retired string, dispatched int) {
	if nodes > 0 {
		s.spareSaid(wire.Spare{Pools: []string{"stream-cpu", "all"}, Nodes: nodes})
	}
	d := s.decide()
	var ids []string
	for _, seat := range d.retire {
		ids = append(ids, seat.ID)
	}
	for _, o := range d.orders {
		s.tokens = append(s.tokens, o.token)
	}
	slices.Sort(ids)
	return strings.Join(ids, " "), len(d.orders)
}

func (s *emptySite) expect(what string, nodes int, retired string, dispatched int) {
	s.t.Helper()
	if r, d := s.wants(nodes); r != retired || d != dispatched {
		s.t.Errorf("%s: %q retired and %d dispatched, want %q and %d", what, r, d, retired, dispatched)
	}
}

func TestIdleSeatsLeaveANode(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	s.expect("nobody wants fewer nodes", 0, "", 0)
	s.expect("as many nodes as have seats", 3, "", 0)
	s.at = s.at.Add(5 * time.Second)
	s.expect("one fewer: the node with the fewest idle seats, and no other", 2, "b-1", 0)
	s.at = s.at.Add(2 * time.Second)
	s.expect("the pool waits until the seat is dead", 2, "", 0)
	s.dies("b-1")
	s.expect("then the pool is filled", 2, "", 1)
	s.is("c-3", wire.SeatIdle) // Nomad fills nodes that have seats
	s.at = s.at.Add(2 * time.Minute)
	s.expect("two nodes have seats, which is what is wanted", 2, "", 0)
	s.at = s.at.Add(5 * time.Second)
	s.expect("one: nobody plays on c", 1, "c-1 c-2 c-3", 0)
	s.dies("c-1", "c-2", "c-3")
	s.at = s.at.Add(time.Second)
	if _, n := s.wants(1); n != 3 {
		t.Errorf("%d seats are dispatched for three that are gone", n)
	}
	for _, id := range []string{"a-2", "a-3", "a-4"} {
		s.is(id, wire.SeatIdle)
	}
	s.at = s.at.Add(2 * time.Minute)
	s.expect("somebody plays on the last node", 1, "", 0)
	s.is("a-play", wire.SeatIdle)
	s.at = s.at.Add(2 * time.Minute)
	if r, _ := s.wants(1); strings.Count(r, " ") > 0 {
		t.Errorf("the last node with seats is emptied: %s", r)
	}
}

// What keeps a node.
func TestNodesThatKeepIdleSeats(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*emptySite){
		"a person waits for the app": func(s *emptySite) { s.elsewhere("somebody", 10, "") },
		"idle for a moment": func(s *emptySite) {
			for _, id := range []string{"b-1", "c-1", "c-2"} {
				s.is(id, wire.SeatClaimed)
				s.is(id, wire.SeatIdle)
			}
		},
		"prepared for somebody": func(s *emptySite) {
			for _, on := range []string{"node-b", "node-c"} {
				for id, seat := range s.seats[on] {
					seat.Prepared = true
					s.seats[on][id] = seat
				}
				s.nodeSaid(node{on, on}, true, s.seats[on], nil)
			}
		},
		"another pool's": func(s *emptySite) {
			s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Warm: 4, Max: 9, Pool: "stream-gpu"}}})
		},
		"a follower": func(s *emptySite) { s.setLeading(false) },
	} {
		s := newEmptySite(t)
		change(s)
		if r, _ := s.wants(1); r != "" {
			t.Errorf("%s: %s retired", name, r)
		}
	}
	// The autoscaler's word is old.
	s := newEmptySite(t)
	s.spareSaid(wire.Spare{Pools: []string{"stream-cpu"}, Nodes: 1})
	s.at = s.at.Add(2 * time.Minute)
	s.expect("two minutes later", 0, "", 0)
}

// Nomad has no room elsewhere and places the next seat on the same node: that is tried once.
func TestNodeThatFillsAgain(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	s.expect("one fewer", 2, "b-1", 0)
	s.dies("b-1")
	s.expect("filled", 2, "", 1)
	s.is("b-2", wire.SeatIdle)
	retired := 0
	for range 9 * 12 { // nine minutes
		s.at = s.at.Add(5 * time.Second)
		if r, _ := s.wants(2); r != "" {
			retired++
		}
	}
	if retired > 0 {
		t.Errorf("the node was emptied %d times more", retired)
	}
	s.at = s.at.Add(2 * time.Minute)
	if r, _ := s.wants(2); r != "b-2" {
		t.Errorf("after a while %q is retired", r)
	}
}

// What is on a node that was emptied is there for other reasons than that Nomad had no room
// elsewhere: the other nodes are emptied as before.
func TestEmptiedNodeThatIsUsed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(*emptySite)
		retired string
	}{
		"somebody took the seat before it was asked": {func(s *emptySite) {
			s.is("b-1", wire.SeatStreaming)
			s.keptOn("b-1")
		}, "c-1 c-2"},
		"the seat was not reached": {func(s *emptySite) {}, "b-1"},
		"people came": {func(s *emptySite) {
			s.dies("b-1")
			s.wants(2)
			s.is("c-3", wire.SeatIdle)
			s.at = s.at.Add(time.Second)
			s.tokens = []string{"somebody"}
			s.is("b-2", wire.SeatStarting)
		}, "c-1 c-2 c-3"},
	} {
		s := newEmptySite(t)
		s.expect(name+": one fewer", 2, "b-1", 0)
		s.at = s.at.Add(time.Second)
		c.happens(s)
		s.at = s.at.Add(40 * time.Second)
		s.timePassed()
		if r, _ := s.wants(2); r != c.retired {
			t.Errorf("%s: %q retired then, want %q", name, r, c.retired)
		}
	}
}

// The seat that declined is told at once, and its pool does not wait for its end.
func TestSeatThatDeclinesToLeave(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	s.expect("one fewer", 2, "b-1", 0)
	s.keptOn("b-1")
	if a := s.view.apps[game]; len(a.moving) > 0 {
		t.Error("the pool waits for the end of a seat that goes on")
	}
	for _, spare := range s.spares {
		if len(spare.emptied) > 0 {
			t.Errorf("nodes that count as emptied: %v", spare.emptied)
		}
	}
}

// A node of GPUs also has seats of jobs that may run on all nodes. It is none of the CPU nodes.
func TestNodesOfAnotherPoolDoNotCount(t *testing.T) {
	t.Parallel()
	s := newEmptySite(t)
	s.jobsChanged(JobsChange{
		Apps: map[string]App{
			game:     {ID: game, Version: 1, Warm: 5, Max: 9, Pool: "all"},
			"render": {ID: "render", Version: 1, Max: 3, Pool: "stream-gpu"},
		},
		Children: map[string]Child{"render-1": {ID: "render-1", App: "render", Version: 1, Alloc: "render-1", Node: "node-g", State: ChildRunning, Created: s.at}},
	})
	s.is("g-1", wire.SeatIdle)
	s.at = s.at.Add(time.Minute)
	s.expect("as many CPU nodes as have seats", 3, "", 0)
	s.at = s.at.Add(2 * time.Second)
	s.expect("one fewer", 2, "b-1", 0)
}
