package brain

import (
	"fmt"
	"log/slog"
	"strings"
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
	l := &line{}
	l.add(leaving.place)
	l.add(staying.place)
	if got := matches(l, []*unit{{child: Child{Alloc: "a"}}}); got != "staying:a" {
		t.Errorf("matched %s", got)
	}
	staying.seat = "a"
	if leaving.waits() || staying.waits() {
		t.Error("a seat would be dispatched for one of them")
	}
}

// A seat of a version that a person did not ask for goes to the next person.
func TestOffersKeepToTheVersion(t *testing.T) {
	t.Parallel()
	l := &line{}
	for i, asked := range []uint64{4, 0, 3, 0} {
		w := newWaiter(ticket.Claims{Session: fmt.Sprint("s", i), App: "game", Version: asked}, "", time.Unix(int64(i), 0))
		l.add(w.place)
	}
	seat := func(id string, version uint64) *unit {
		return &unit{child: Child{Alloc: id}, spot: spot{version: version}}
	}
	free := []*unit{seat("a", 3), seat("b", 3), seat("c", 2)}
	if got := matches(l, free); got != "s1:a s2:b s3:c" {
		t.Errorf("matched %s", got)
	}
	if len(free) != 3 || free[0].child.Alloc != "a" || free[2].child.Alloc != "c" {
		t.Error("the list of free seats was changed")
	}
}

func matches(l *line, free []*unit) string {
	var out []string
	for _, m := range l.match(free, len(free), time.Now()) {
		out = append(out, m.w.session+":"+m.u.child.Alloc)
	}
	return strings.Join(out, " ")
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
