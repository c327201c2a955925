package brain

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// came is how many people a brain says came within its windows.
func came(t *testing.T, st *state, app string) (two, ten wire.Arrivals) {
	t.Helper()
	for _, a := range st.demand().Apps {
		if a.App == app && len(a.Arrivals) == 2 {
			return a.Arrivals[0], a.Arrivals[1]
		}
	}
	t.Fatalf("nothing of %s: %+v", app, st.demand())
	return two, ten
}

// Each person counts once, whichever way they come, and is forgotten after ten minutes.
func TestArrivals(t *testing.T) {
	s := newLineSite(t)
	began := s.at
	s.comes("anna", 0)
	s.comes("anna", 0) // again, from the same page
	s.elsewhere("ben", 0, "")
	s.comes("ben", 0)          // their brain is gone
	s.elsewhere("carl", 0, "") // at another brain alone
	if two, ten := came(t, s.state, game); two.Count != 1 || ten.Count != 1 {
		t.Errorf("%+v, %+v: want one person", two, ten)
	}
	// A person with a seat comes back with their ticket.
	s.seat("seat")
	s.free[0].State, s.free[0].Session = wire.SeatClaimed, "dora"
	s.seatsChanged(s.free)
	s.comes("dora", 0)
	if two, _ := came(t, s.state, game); two.Count != 1 {
		t.Errorf("who has a seat counts again: %+v", two)
	}
	s.at = began.Add(90 * time.Second)
	s.comes("emil", 0)
	two, ten := came(t, s.state, game)
	if two.Count != 2 || ten.Count != 2 || two.WindowMS != 90_000 || ten.WindowMS != 90_000 {
		t.Errorf("a brain that is 90 s old: %+v, %+v", two, ten)
	}
	s.at = began.Add(3 * time.Minute)
	if two, ten = came(t, s.state, game); two.Count != 1 || ten.Count != 2 || two.WindowMS < 110_000 || two.WindowMS > 120_000 {
		t.Errorf("after 3 min: %+v, %+v", two, ten)
	}
	s.at = began.Add(15 * time.Minute)
	if two, ten = came(t, s.state, game); two.Count != 0 || ten.Count != 0 || ten.WindowMS < 590_000 || ten.WindowMS > 600_000 {
		t.Errorf("after 15 min: %+v, %+v", two, ten)
	}
	s.at = began // a clock that was put back
	s.comes("finn", 0)
	if two, _ = came(t, s.state, game); two.Count < 1 {
		t.Errorf("with a clock that was put back: %+v", two)
	}
}

// A person whose connection is lost in the queue is not a second person when they connect again.
func TestArrivalsOfComeback(t *testing.T) {
	s := newLineSite(t)
	for range 5 {
		s.leave(s.comes("anna", 0))
		s.at = s.at.Add(3 * time.Second)
		s.timePassed()
	}
	if two, ten := came(t, s.state, game); two.Count != 1 || ten.Count != 1 {
		t.Errorf("one person, who connected five times: %+v, %+v", two, ten)
	}
	// Somebody with a ticket of two minutes ago came to another brain, which is gone.
	s.leave(s.comes("ben", 120_000))
	s.comes("ben", 120_000)
	if two, _ := came(t, s.state, game); two.Count != 1 {
		t.Errorf("with a person who came to another brain before: %+v", two)
	}
	// Who rested before Play comes now.
	w := newWaiter(ticket.Claims{Session: "carl", App: game, First: s.at.Add(-2 * time.Minute)}, "", s.at)
	w.rested = true
	s.enqueue(w)
	if two, _ := came(t, s.state, game); two.Count != 2 {
		t.Errorf("with a person who rested for two minutes: %+v", two)
	}
	if len(s.came.at) != 3 {
		t.Errorf("%d sessions are remembered", len(s.came.at))
	}
	for range 2 {
		s.at = s.at.Add(ticket.MaxWait)
		s.timePassed()
	}
	if len(s.came.at) != 0 {
		t.Errorf("%d sessions are remembered whose tickets nobody takes", len(s.came.at))
	}
	for i := range maxComers + 10 {
		s.came.note(strconv.Itoa(i), s.at)
	}
	if len(s.came.at) != maxComers {
		t.Errorf("%d sessions are remembered, at most %d may be", len(s.came.at), maxComers)
	}
}

// A clock that is put far forward and back again leaves no arrivals in the future.
func TestArrivalsWithClock(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var a arrivals
	for range 7 {
		a.add(now.Add(24 * time.Hour))
	}
	if got := a.within(2*time.Minute, time.Hour, now); got.Count != 0 {
		t.Errorf("after the clock was put back: %+v", got)
	}
	a.add(now)
	if got := a.within(2*time.Minute, time.Hour, now.Add(3*time.Minute)); got.Count != 0 {
		t.Errorf("of three minutes ago: %+v", got)
	}
	if got := a.within(10*time.Minute, time.Hour, now.Add(3*time.Minute)); got.Count != 1 {
		t.Errorf("of ten minutes: %+v", got)
	}
}

// A brain whose clock was put back by an hour, ten minutes after its start, has windows of their length.
func TestArrivalsAfterClockWasPutBack(t *testing.T) {
	now, age := time.Unix(1_800_000_000, 0), 10*time.Minute
	var a arrivals
	a.add(now.Add(-time.Second))
	for _, window := range arrivalWindows {
		if got := a.within(window, age, now); got.Count != 1 || got.WindowMS < (window-arrivalStep).Milliseconds() || got.WindowMS > window.Milliseconds() {
			t.Errorf("in %s: %+v", window, got)
		}
		if got := a.within(window, 90*time.Second, now); got.WindowMS != 90_000 {
			t.Errorf("a brain that is 90 s old: %+v", got)
		}
	}
}

// Who pressed Play after a rest counts too.
func TestArrivalsOfPrepared(t *testing.T) {
	s := newLineSite(t)
	s.seat("one")
	s.seat("two")
	w := newWaiter(ticket.Claims{Session: "anna", App: game, First: s.at}, "", s.at)
	l := s.lend(w, netip.Prefix{})
	if l == nil {
		t.Fatal("no seat is lent")
	}
	if two, _ := came(t, s.state, game); two.Count != 0 {
		t.Errorf("who only rests counts: %+v", two)
	}
	s.played(l)
	if two, _ := came(t, s.state, game); two.Count != 1 {
		t.Errorf("who pressed Play: %+v", two)
	}
}

// What the autoscaler sizes by.
func TestDemand(t *testing.T) {
	s := newLineSite(t)
	s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9, Warm: 2, Pool: "stream-cpu"}, "quiet": {ID: "quiet", Version: 1}}})
	began := s.at
	for _, id := range []string{"busy", "idle"} {
		s.seat(id)
	}
	s.free[0].State, s.free[0].Session, s.free[0].Since = wire.SeatStreaming, "anna", s.at
	s.seatsChanged(s.free)
	s.jobsChanged(JobsChange{Children: map[string]Child{"stuck": {ID: "stuck", App: game, Version: 1, State: ChildBlocked, Created: s.at}}})
	s.timePassed()
	s.at = began.Add(20 * time.Minute)
	s.timePassed()
	s.jobsChanged(JobsChange{Children: map[string]Child{"busy": {ID: "busy", App: game, Version: 1, Alloc: "busy", State: ChildDead, Created: began}}})
	d := s.demand()
	if !d.Known || d.Site != "dc1" || len(d.Apps) != 2 || d.Apps[1].App != "quiet" || d.Apps[1].Pool != "default" {
		t.Fatalf("%+v", d)
	}
	got := d.Apps[0]
	got.Arrivals = nil
	minutes := int64(20 * 60_000)
	want := wire.AppDemand{App: game, Pool: "stream-cpu", Idle: 1, Blocked: 1, Warm: 2, Max: 9, Played: minutes, Ended: 1,
		Sessions: wire.Lengths{Count: 1, Mean: minutes, P50: minutes, P90: minutes}, Starts: got.Starts}
	if g, w := text(got), text(want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	// An app that Nomad has no more keeps its pool while it has seats.
	s.jobsChanged(JobsChange{GoneApps: []string{game}})
	if a := s.demand().Apps[0]; a.Pool != "stream-cpu" || a.Idle != 1 {
		t.Errorf("after the app is gone: %+v", a)
	}
}

// Idle seats that retire, or whose node this brain does not hear, are no people; who played there is one until the
// seat is dead. A brain that hears no node at all does not know its site.
func TestDemandOfIdleSeats(t *testing.T) {
	s := newEmptySite(t) // somebody plays on node a, and four seats are idle on a, b and c
	busy := func() int { return s.demand().Apps[0].Busy }
	if s.spareSaid(wire.Spare{Pools: []string{"stream-cpu"}, Nodes: 2}); len(s.decide().retire) == 0 {
		t.Fatal("no seat retires")
	}
	if got := busy(); got != 1 {
		t.Errorf("%d people while an idle seat retires", got)
	}
	s.is("b-1", wire.SeatEnding)
	if got := busy(); got != 1 {
		t.Errorf("%d people while an idle seat ends", got)
	}
	s.nodeLost("node-c")
	s.at = s.at.Add(2 * lostNodeKept)
	s.timePassed()
	if d := s.demand(); busy() != 1 || !d.Known {
		t.Errorf("a node with idle seats is not heard: %+v", d)
	}
	s.nodeLost("node-a")
	s.timePassed()
	if d := s.demand(); busy() != 1 || !d.Known {
		t.Errorf("the node where somebody plays is not heard for a moment: %+v", d)
	}
	s.at = s.at.Add(2 * lostNodeKept)
	s.timePassed()
	if got := busy(); got != 1 {
		t.Errorf("%d people, and somebody played there", got)
	}
	s.nodeLost("node-b")
	s.nodeLost("") // of lineSite
	if s.demand().Known {
		t.Error("who hears no node knows how many people there are")
	}
	s.is("b-1", wire.SeatEnding)
	if !s.demand().Known {
		t.Error("a node is heard again")
	}
	s.dies("a-play")
	if got := busy(); got != 0 {
		t.Errorf("%d people, and the seat is dead", got)
	}
}

func text(v any) string {
	out, _ := json.Marshal(v)
	return string(out)
}

func TestLengths(t *testing.T) {
	var d durations
	if got := d.lengths(); got != (wire.Lengths{}) {
		t.Errorf("before anything was measured: %+v", got)
	}
	for i := range 40 { // the last 32: 9 to 40
		d.add(time.Duration(i+1) * time.Second)
	}
	if got := d.lengths(); got != (wire.Lengths{Count: 32, Mean: 24_500, P50: 25_000, P90: 37_000}) {
		t.Errorf("%+v", got)
	}
}
