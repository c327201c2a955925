package brain

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// appsSite is one brain's state with eight apps, of each of which one person waits: those of
// the last app came first.
type appsSite struct {
	*state
	at      time.Time
	waiters map[string]*waiter // by app
}

func newAppsSite(most int) *appsSite {
	s := &appsSite{at: time.Unix(1_800_000_000, 0), waiters: map[string]*waiter{}}
	s.state = newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return s.at })
	apps := map[string]App{}
	for i := range 8 {
		id := fmt.Sprint("app", i)
		apps[id] = App{ID: id, Version: 1, Max: most}
	}
	s.jobsChanged(JobsChange{All: true, Apps: apps})
	s.seatsChanged(nil)
	s.setPaused(true)
	for i := range 8 {
		app := fmt.Sprint("app", i)
		s.waiters[app] = newWaiter(ticket.Claims{Session: "s" + app, App: app, First: s.at.Add(-time.Duration(i) * time.Second)}, "", s.at)
		s.enqueue(s.waiters[app])
	}
	return s
}

// offered are the apps whose people are offered a seat.
func (s *appsSite) offered() string {
	var out []string
	for app, w := range s.waiters {
		if w.seat != "" {
			out = append(out, app)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Apps that share the window of offers take turns: who waits longest is first, and an app for
// which there was no room is next when an offer ends.
func TestTurns(t *testing.T) {
	t.Parallel()
	for range 5 {
		s := newAppsSite(1)
		children, seats := map[string]Child{}, []wire.Seat{}
		for i := range 8 {
			app := fmt.Sprint("app", i)
			id := app + "/dispatch-v1-0"
			children[id] = Child{ID: id, App: app, Version: 1, Alloc: id, State: ChildRunning, Created: s.at}
			seats = append(seats, wire.Seat{ID: id, App: app, Job: id, Version: 1, State: wire.SeatIdle, Since: s.at})
		}
		s.jobsChanged(JobsChange{Children: children})
		s.seatsChanged(seats)
		s.window.size = 4
		s.setPaused(false)
		if got := s.offered(); got != "app4 app5 app6 app7" {
			t.Fatalf("the first offers went to %s", got)
		}
		for _, end := range []struct{ of, then string }{
			{"app5", "app3 app4 app6 app7"}, {"app7", "app2 app3 app4 app6"}, {"app3", "app1 app2 app4 app6"}, {"app4", "app0 app1 app2 app6"},
		} {
			s.leave(s.waiters[end.of])
			delete(s.waiters, end.of)
			if got := s.offered(); got != end.then {
				t.Fatalf("after the offer of %s ended, those of %s are offered seats", end.of, got)
			}
		}
	}
}

// Seats are dispatched in the order in which people came, whatever their app: the first ones
// get the room that the nodes have.
func TestOrdersInTurn(t *testing.T) {
	t.Parallel()
	for range 5 {
		var got []string
		for _, o := range newAppsSite(1).decide().orders {
			got = append(got, o.app.ID)
		}
		if want := strings.Fields("app7 app6 app5 app4 app3 app2 app1 app0"); !slices.Equal(got, want) {
			t.Fatalf("ordered %v", got)
		}
	}
}

// Another brain takes a seat from one person and offers it to the next: it stays theirs.
func TestOfferThatMovesElsewhere(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := newLineSite(t)
		s.seat("a")
		s.elsewhere("first", 2000, "a")
		s.elsewhere("second", 1000, "")
		said := map[string]wire.Waiting{}
		for session, ago := range map[string]time.Duration{"first": 2 * time.Second, "second": time.Second} {
			said[session] = wire.Waiting{App: game, First: s.at.Add(-ago)}
		}
		second := said["second"]
		second.Offered = "a"
		said["second"] = second
		s.lineSaid("other", false, said, nil)
		if a := s.view.apps[game]; len(a.free) != 0 || a.counts.busy != 1 {
			t.Fatalf("the seat counts as %+v", a.counts)
		}
		s.elsewhere("second", 1000, "")
		if a := s.view.apps[game]; len(a.free) != 1 {
			t.Fatalf("the seat that nobody is offered counts as %+v", a.counts)
		}
	}
}

// Two seats say that they have one session: the one that said so last has it, and the other
// one is found again when that ends.
func TestSessionAtTwoSeats(t *testing.T) {
	t.Parallel()
	for range 20 {
		s := newLineSite(t)
		s.seat("a")
		s.seat("b")
		has := func(i int) {
			s.at = s.at.Add(time.Second)
			s.free[i].State, s.free[i].Session, s.free[i].Since = wire.SeatClaimed, "s", s.at
			s.seatsChanged(s.free)
		}
		has(1)
		has(0)
		// All are counted anew, in any order.
		s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 2}}})
		if _, _, seat, _ := s.session("s"); seat.ID != "a" {
			t.Fatalf("found %s", seat.ID)
		}
		s.jobsChanged(JobsChange{Children: map[string]Child{"a": {ID: "a", App: game, Version: 1, Alloc: "a", State: ChildDead}}})
		if _, _, seat, _ := s.session("s"); seat.ID != "b" {
			t.Fatalf("found %q after the first one's end", seat.ID)
		}
	}
}

// Two feeds tell of one seat. While Nomad does not answer, sessions go on at the address of
// the feed that is heard.
func TestSeatOfTwoFeeds(t *testing.T) {
	t.Parallel()
	for range 20 {
		at := time.Unix(1_800_000_000, 0)
		st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return at })
		for _, feed := range []string{"n/1", "n/2", "n/3"} {
			st.nodeSaid(node{feed, "n"}, true, map[string]wire.Seat{"a": {ID: "a", App: game, Job: "a", Address: feed, State: wire.SeatStreaming}}, nil)
		}
		st.nodeLost("n/1")
		st.nodeLost("n/3")
		if got := st.locate("a"); got.seat.Address != "n/2" || !got.running {
			t.Fatalf("located %+v", got)
		}
		st.jobsChanged(JobsChange{All: true, Apps: map[string]App{game: {ID: game, Version: 1, Max: 1}},
			Children: map[string]Child{"a": {ID: "a", App: game, Version: 1, Alloc: "a", Node: "n", State: ChildRunning}}})
		if got := st.locate("a"); got.seat.Address != "n/2" {
			t.Fatalf("with Nomad's word located %+v", got)
		}
	}
}

// The apps that were written longest ago are written first.
func TestLongestUnwrittenFirst(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	app := func(id string, ago time.Duration, version uint64) wire.App {
		return wire.App{ID: id, Version: version, Updated: now.Add(-ago)}
	}
	inConsul, want := map[string]wire.App{}, map[string]wire.App{"new": app("new", 0, 1)}
	for i := range 6 {
		id := fmt.Sprint("app", i)
		inConsul[id], want[id] = app(id, time.Duration(i)*time.Minute, 1), app(id, 0, 2)
	}
	want["app3"] = inConsul["app3"]
	if got := strings.Join(dueApps(inConsul, want, now), " "); got != "new app5 app4 app2 app1 app0" {
		t.Errorf("wrote %s", got)
	}
}
