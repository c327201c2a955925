package brain

import (
	"encoding/json"
	"net/netip"
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
