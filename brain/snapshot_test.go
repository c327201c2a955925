package brain

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestSnapshotQuality has a seat say what its session was like in its last moment, too late for a look
// while the session is there.
func TestSnapshotQuality(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now })
	child := Child{ID: "game/dispatch-v1-1", App: "game", Version: 1, Alloc: "a1", Node: "n1", State: ChildRunning, Created: now}
	st.jobsChanged(JobsChange{All: true, Apps: map[string]App{"game": {ID: "game", Version: 1, Max: 2}}, Children: map[string]Child{child.ID: child}})
	from := node{feed: "n1/r", name: "n1"}
	say := func(state wire.SeatState, frozen float64) {
		st.nodeSaid(from, false, map[string]wire.Seat{"a1": {ID: "a1", App: "game", Job: child.ID, Version: 1, Node: "n1", Address: "10.0.0.1:1", Key: "k",
			State: state, Session: "s-1", Since: now, Quality: &wire.Quality{DurationS: 12, FrozenS: frozen}}}, nil)
	}
	say(wire.SeatStreaming, 3)
	if s, _ := st.snapshot(); s.Sessions["s-1"].Quality == nil || s.Sessions["s-1"].Quality.FrozenS != 3 {
		t.Errorf("while it lasts: %+v", s.Sessions)
	}
	say(wire.SeatEnding, 4)
	st.nodeSaid(from, false, nil, []string{"a1"})
	child.State, child.End = ChildDead, &wire.End{Reason: wire.ReasonLeft}
	st.jobsChanged(JobsChange{Children: map[string]Child{child.ID: child}})
	s, _ := st.snapshot()
	if q := s.Quality["a1"]; q == nil || q.FrozenS != 4 || s.Ended["a1"].Reason != wire.ReasonLeft || len(s.Sessions) != 0 {
		t.Errorf("afterwards: %+v, %+v", q, s)
	}
	if was := s.Over["s-1"]; was.App != "game" || was.Seat != "a1" || !was.Since.Equal(now) || was.State != string(wire.SeatStreaming) {
		t.Errorf("its session was %+v", was)
	}
}

// BenchmarkSnapshot is what a leader does twice a second under its lock, at a site with 10,000 sessions.
func BenchmarkSnapshot(b *testing.B) {
	now := time.Unix(1_800_000_000, 0).UTC()
	st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now })
	children, nodes := map[string]Child{}, map[string]map[string]wire.Seat{}
	for i := range 10_000 {
		id, alloc, on := fmt.Sprint("game/dispatch-", i), fmt.Sprint("a", i), fmt.Sprint("n", i/100)
		children[id] = Child{ID: id, App: "game", Version: 1, Alloc: alloc, Node: on, State: ChildRunning, Created: now}
		if nodes[on] == nil {
			nodes[on] = map[string]wire.Seat{}
		}
		nodes[on][alloc] = wire.Seat{ID: alloc, App: "game", Job: id, Version: 1, Node: on, Address: "10.0.0.1:1", Key: "k", State: wire.SeatStreaming, Session: fmt.Sprint("s-dc1-", i), Since: now}
	}
	st.jobsChanged(JobsChange{All: true, Apps: map[string]App{"game": {ID: "game", Version: 1, Max: 10_000}}, Children: children})
	for on, seats := range nodes {
		st.nodeSaid(node{feed: on + "/r", name: on}, false, seats, nil)
	}
	for b.Loop() {
		if s, _ := st.snapshot(); len(s.Sessions) != 10_000 {
			b.Fatalf("%d sessions", len(s.Sessions))
		}
	}
}
