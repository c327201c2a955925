package brain

import (
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// A person with an outcome stays in the queue until they have read it. They are
// offered no seat, and none is dispatched for them.
func TestNoSeatAfterTheOutcome(t *testing.T) {
	t.Parallel()
	person := func(session string) *waiter {
		return newWaiter(ticket.Claims{Session: session, App: "game"}, "", time.Now())
	}
	leaving, staying := person("leaving"), person("staying")
	leaving.end(outcome{code: wire.CloseEnded})
	leaving.end(outcome{code: wire.CloseReplaced})
	if v := <-leaving.outcome; v.code != wire.CloseEnded {
		t.Errorf("the outcome was %d, want the first", v.code)
	}
	var reserved []string
	queue{leaving, staying}.offer([]wire.Seat{{ID: "a"}}, func(seat string) { reserved = append(reserved, seat) })
	if !slices.Equal(reserved, []string{"a"}) {
		t.Errorf("reserved %v", reserved)
	}
	if leaving.seat != "" || staying.seat != "a" {
		t.Errorf("seats: %q for the one that leaves, %q for the one that stays", leaving.seat, staying.seat)
	}
	if leaving.waits() || staying.waits() {
		t.Error("a seat would be dispatched for one of them")
	}
}

// A seat of a version that a person did not ask for goes to the next person.
func TestOffersKeepToTheVersion(t *testing.T) {
	t.Parallel()
	person := func(version uint64) *waiter {
		return newWaiter(ticket.Claims{Session: "s", App: "game", Version: version}, "", time.Now())
	}
	seat := func(id string, version uint64) wire.Seat { return wire.Seat{ID: id, Version: version} }
	any1, asks4, asks3, any2 := person(0), person(4), person(3), person(0)
	var reserved []string
	queue{asks4, any1, asks3, any2}.offer([]wire.Seat{seat("a", 3), seat("b", 3), seat("c", 2)},
		func(seat string) { reserved = append(reserved, seat) })
	if !slices.Equal(reserved, []string{"a", "b", "c"}) {
		t.Errorf("reserved %v", reserved)
	}
	if asks4.seat != "" || any1.seat != "a" || asks3.seat != "b" || any2.seat != "c" {
		t.Errorf("seats: %q asked for 4, %q and %q asked for none, %q asked for 3", asks4.seat, any1.seat, any2.seat, asks3.seat)
	}
}

// DELETE of a waiting session may come while the session ends for another reason.
func TestOneOutcome(t *testing.T) {
	t.Parallel()
	for range 100 {
		st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), time.Now)
		w := newWaiter(ticket.Claims{Session: "s", App: "game"}, "", time.Now())
		st.enqueue(w)
		var all sync.WaitGroup
		all.Go(func() { st.endWaiting(w, ended(wire.End{Reason: wire.ReasonLeft})) })
		all.Go(func() { st.jobsChanged(JobsChange{All: true}) }) // the app is unknown
		all.Wait()
		<-w.outcome
		select {
		case o := <-w.outcome:
			t.Fatalf("a second outcome: %+v", o)
		default:
		}
	}
}
