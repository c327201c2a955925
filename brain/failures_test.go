package brain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// A seat that dies at once is one failure, in whatever order its events come.
func TestDeathCountsInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []string{
		"returned running dead", "running returned dead", "running dead returned", "dead returned", "returned dead",
		"returned running starting gone dead", "starting returned gone dead", "starting gone dead returned",
		"returned running starting dead gone", "returned starting idle running dead gone", "idle dead gone returned",
		"running returned blocked dead", "returned dead dead", "running dead leader returned", "returned leader running dead",
	} {
		c := newChaos(t, 1, 1, App{ID: game, Version: 1, Warm: 1, Max: 5})
		m := c.replicas[0]
		d := m.decide()
		if len(d.orders) != 1 {
			t.Fatalf("%s: %d orders at the start", order, len(d.orders))
		}
		f := c.start(d.orders[0])
		f.Alloc = "alloc-1"
		for _, event := range strings.Fields(order) {
			switch event {
			case "returned":
				m.dispatched(d.orders[0], f.ID, nil)
			case "running":
				f.State = ChildRunning
				c.tellNomad(m)
			case "blocked":
				f.State = ChildBlocked
				c.tellNomad(m)
			case "dead":
				c.die(f, wire.End{Reason: wire.ReasonAppExited, ExitCode: 1})
				c.tellNomad(m)
			case "starting", "idle":
				f.become(wire.SeatState(event), c.now)
				c.tellConsul(m)
			case "gone":
				f.seen = false
				c.tellConsul(m)
			case "leader":
				m.setLeading(false)
				m.setLeading(true)
			}
			if n := len(m.decide().orders); n != 0 {
				t.Errorf("%s: dispatched %d more after %q", order, n, event)
			}
		}
		c.now = c.now.Add(firstBackOff - time.Millisecond)
		if n := len(m.decide().orders); n != 0 {
			t.Errorf("%s: the back-off is over too early", order)
		}
		c.now = c.now.Add(time.Millisecond)
		if n := len(m.decide().orders); n != 1 {
			t.Errorf("%s: %d orders after the back-off", order, n)
		}
		if f := m.view.of(game).failures; f == nil || f.failures != 1 {
			t.Errorf("%s: counted as %+v", order, f)
		}
	}
}

// A child that was dead before this brain started, or long before it looked at
// Nomad again, is not a failure.
func TestOldDeathsDoNotCount(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 1, 1, App{ID: game, Version: 1, Warm: 1, Max: 5})
	f := c.start(order{app: App{ID: game, Version: 1}, token: "s-old"})
	f.Created = c.now.Add(-time.Hour)
	c.die(f, wire.End{Reason: wire.ReasonAppExited, ExitCode: 1})
	c.tellNomad(c.replicas[0])
	if n := len(c.replicas[0].decide().orders); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// A dispatch that Nomad accepted and never showed counts until Nomad's servers say
// that it is gone.
func TestDispatchThatNomadNeverShows(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 1, 1, App{ID: game, Version: 1, Warm: 1, Max: 5})
	m := c.replicas[0]
	o := m.decide().orders[0]
	f := c.start(o)
	m.dispatched(o, f.ID, nil)
	for range 5 {
		c.now = c.now.Add(eventsWithin + time.Second)
		m.timePassed()
		d := m.decide()
		if len(d.orders) != 0 || len(d.ask) != 1 {
			t.Fatalf("decided %+v", d)
		}
		m.settle(game, c.live())
	}
	c.die(f, wire.End{Reason: wire.ReasonDrained})
	c.now = c.now.Add(eventsWithin + time.Second)
	m.decide()
	m.settle(game, c.live())
	if n := len(m.decide().orders); n != 1 {
		t.Errorf("%d orders after it was known to be gone", n)
	}
}

// Nomad tells of a job before it can be dispatched: then the app does not fail, and the next try is a moment later.
func TestDispatchBeforeNomadKnowsTheApp(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 1, 1, App{ID: game, Version: 1, Warm: 1, Max: 5})
	m := c.replicas[0]
	orders := m.decide().orders
	if len(orders) != 1 {
		t.Fatalf("%d orders at the start", len(orders))
	}
	m.dispatched(orders[0], "", fmt.Errorf("dispatch: %w", ErrNoApp))
	if failing := m.failing(); len(failing) > 0 {
		t.Errorf("seats fail to start: %v", failing)
	}
	if p := m.admissible(ticket.Claims{Session: ticket.NewSession(), App: game}); p != nil {
		t.Errorf("people are refused: %+v", p)
	}
	if n := len(m.decide().orders); n != 0 {
		t.Errorf("%d orders at once again", n)
	}
	c.now = c.now.Add(firstBackOff)
	if n := len(m.decide().orders); n != 1 {
		t.Errorf("%d orders a moment later", n)
	}
}

// While Nomad does not know an app for which many wait, it is asked for one seat at a time, less and less often.
func TestDispatchWhileNomadDoesNotKnowTheApp(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 1, 1, App{ID: game, Version: 1, Max: 50})
	m := c.replicas[0]
	var people []*waiter
	for i := range 20 {
		w := newWaiter(ticket.Claims{Session: fmt.Sprint("p", i), App: game, Expires: c.now.Add(time.Hour)}, "", c.now)
		m.enqueue(w)
		people = append(people, w)
	}
	// asked is how many seats are ordered, and when, in a time in which Nomad answers with err.
	asked := func(within time.Duration, err error) (out []string) {
		begin := c.now
		for ; c.now.Sub(begin) < within; c.now = c.now.Add(100 * time.Millisecond) {
			m.timePassed()
			orders := m.decide().orders
			if len(orders) > 0 {
				out = append(out, fmt.Sprint(len(orders), " at ", c.now.Sub(begin)))
			}
			for _, o := range orders {
				child := ""
				if err == nil {
					child = c.start(o).ID
				}
				m.dispatched(o, child, err)
			}
		}
		return out
	}
	no := fmt.Errorf("dispatch: %w", ErrNoApp)
	if got, want := asked(46*time.Second, no), []string{"20 at 0s", "1 at 1s", "1 at 3s", "1 at 7s", "1 at 15s", "1 at 25s", "1 at 35s", "1 at 45s"}; !slices.Equal(got, want) {
		t.Errorf("Nomad is asked for %q, want %q", got, want)
	}
	for _, w := range people {
		if w.ended {
			t.Fatalf("%s is refused", w.session)
		}
		if w.last.Type != wire.MsgQueued {
			t.Fatalf("%s is told %+v while no seat starts", w.session, w.last)
		}
	}
	// The job is seen anew, and Nomad does not know it yet.
	m.jobsChanged(JobsChange{Apps: c.apps})
	if got, want := asked(1500*time.Millisecond, no), []string{"20 at 0s", "1 at 1s"}; !slices.Equal(got, want) {
		t.Errorf("after the job was seen, Nomad is asked for %q, want %q", got, want)
	}
	if got, want := asked(3*time.Second, nil), []string{"1 at 1.5s", "19 at 1.6s"}; !slices.Equal(got, want) {
		t.Errorf("when Nomad knows it, it is asked for %q, want %q", got, want)
	}
}

func TestBackOffGrowsAndEnds(t *testing.T) {
	t.Parallel()
	var b backOff
	now := time.Unix(1000, 0)
	var waits []time.Duration
	for range 9 {
		b.fail(3, now, wire.End{Detail: "broken"})
		b.fail(3, now.Add(time.Millisecond), wire.End{Detail: "broken"}) // one failure: they were dispatched together
		waits = append(waits, b.until.Sub(now))
		if !b.running(3, now) || b.running(4, now) || !b.failing(3) {
			t.Fatalf("after %d failures: %+v", b.failures, b)
		}
		now = b.until
		if b.running(3, now) {
			t.Fatal("the back-off does not end")
		}
	}
	s := time.Second
	if want := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}; !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
	b.fail(4, now, wire.End{Detail: "broken anew"})
	if b.failures != 1 {
		t.Error("a new version does not start from 1")
	}
}
