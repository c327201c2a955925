package brain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

func TestUnwanted(t *testing.T) {
	t.Parallel()
	// fetch is a seat whose person has left long ago, and that has much to fetch.
	fetch := func(id string, change ...func(*onTheWay)) onTheWay {
		o := onTheWay{id: id, version: 2, fetching: true, unwanted: time.Hour, after: unwantedFor}
		for _, c := range change {
			c(&o)
		}
		return o
	}
	waits := func(o *onTheWay) { o.waits = true }
	fresh := func(o *onTheWay) { o.unwanted = unwantedFor - time.Second }
	soon := func(o *onTheWay) { o.fetching = false }
	former := func(o *onTheWay) { o.version = 1 }
	never := func(o *onTheWay) { o.after = 0 }
	for _, c := range []struct {
		name           string
		d              demand
		unwanted, stop string
	}{
		{"nobody waits", demand{coming: []onTheWay{fetch("a"), fetch("b")}}, "a b", "a b"},
		{"nobody has waited for a moment", demand{coming: []onTheWay{fetch("a", fresh)}}, "a", ""},
		{"it is ready soon, or does not fetch", demand{coming: []onTheWay{fetch("a", soon)}}, "a", ""},
		{"its own brain stops it", demand{coming: []onTheWay{fetch("a", never)}}, "a", ""},
		{"no stream host speaks yet", demand{coming: []onTheWay{{version: 2, after: unwantedFor}}}, "", ""},
		{"the pool wants it", demand{warm: 1, coming: []onTheWay{fetch("a")}}, "", ""},
		{"the pool has its seat", demand{warm: 1, counts: counts{idle: 1}, coming: []onTheWay{fetch("a")}}, "a", "a"},
		{"the pool wants the oldest", demand{warm: 1, coming: []onTheWay{fetch("a"), fetch("b")}}, "b", "b"},
		{"the pool wants none of a former version", demand{warm: 1, coming: []onTheWay{fetch("a", former), fetch("b")}}, "a", "a"},
		{"another person waits", demand{asked: []uint64{0}, coming: []onTheWay{fetch("a"), fetch("b")}}, "b", "b"},
		{"the seat of a person who waits goes on", demand{asked: []uint64{0}, coming: []onTheWay{fetch("a"), fetch("b", waits)}}, "", ""},
		{"a person asks for the former version", demand{asked: []uint64{1}, coming: []onTheWay{fetch("a"), fetch("b", former)}}, "a", "a"},
		{"a person asks for the present version", demand{asked: []uint64{2}, coming: []onTheWay{fetch("a", former), fetch("b")}}, "a", "a"},
		{"an idle seat is there for them", demand{asked: []uint64{0}, counts: counts{idle: 1}, coming: []onTheWay{fetch("a"), fetch("b")}}, "a b", "a b"},
		{"as many wait as seats come", demand{asked: []uint64{1, 1}, coming: []onTheWay{fetch("a"), fetch("b")}}, "", ""},
	} {
		c.d.version, c.d.max = 2, 9
		unwanted, stop := c.d.unwanted()
		if got := strings.Join(unwanted, " "); got != c.unwanted {
			t.Errorf("%s: unwanted are %q, want %q", c.name, got, c.unwanted)
		}
		if got := strings.Join(stop, " "); got != c.stop {
			t.Errorf("%s: stops %q, want %q", c.name, got, c.stop)
		}
		// What is stopped is not ordered again.
		c.d.leading, c.d.waiting, c.d.counts.starting = true, len(c.d.asked), len(c.d.coming)-len(stop)
		if m := plan(c.d); len(stop) > 0 && m.people+m.pool > 0 {
			t.Errorf("%s: stops %q and orders %+v", c.name, stop, m)
		}
	}
}

// fetches has a child of a session be a seat that fetches its content.
func (s *lineSite) fetches(id, session string, done float64) {
	s.brainsAre(nil)
	s.jobsChanged(JobsChange{Children: map[string]Child{id: {ID: id, App: game, Version: 1, Token: session, Alloc: id, State: ChildRunning, Created: s.at}}})
	s.free = append(s.free, wire.Seat{ID: id, App: game, Job: id, Version: 1, State: wire.SeatStarting, Since: s.at})
	s.fetched(id, done)
}

func (s *lineSite) fetched(id string, done float64) {
	at := slices.IndexFunc(s.free, func(x wire.Seat) bool { return x.ID == id })
	s.free[at].Progress = wire.Progress{Phase: wire.PhaseContent, Fraction: done}
	s.seatsChanged(s.free)
}

// pass lets time pass, with decisions each second, and returns the seats whose fetches were
// stopped, with the time.
func (s *lineSite) pass(d time.Duration) (out []string) {
	began := s.at
	for end := s.at.Add(d); s.at.Before(end); {
		s.at = s.at.Add(time.Second)
		s.timePassed()
		for _, seat := range s.decide().unload {
			out = append(out, fmt.Sprint(seat.ID, " ", s.at.Sub(began)))
		}
	}
	return out
}

// A person leaves while their seat fetches its content.
func TestFetchNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	begin := func(t *testing.T) (*lineSite, *waiter) {
		s := newLineSite(t)
		s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9}}})
		w := s.comes("first", 0)
		if d := s.decide(); len(d.orders) != 1 {
			t.Fatalf("ordered %+v", d.orders)
		}
		s.fetches("a", "first", 0.01)
		if got := s.pass(time.Minute); len(got) > 0 {
			t.Fatalf("a person waits, and it stops %q", got)
		}
		s.fetched("a", 0.1)
		return s, w
	}
	t.Run("and a cell that took long is followed by a fetch that does not", func(t *testing.T) {
		s := newLineSite(t)
		s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9}}})
		w := s.comes("first", 0)
		s.decide()
		s.fetches("a", "first", -1)
		s.leave(w)
		got := s.pass(25 * time.Second)
		s.fetched("a", 0)
		got = append(got, s.pass(3*time.Second)...)
		s.fetched("a", 0.5) // so 3 s are left
		if got = append(got, s.pass(6*time.Second)...); len(got) > 0 {
			t.Errorf("stopped %q", got)
		}
		if got = s.pass(45 * time.Second); len(got) == 0 {
			t.Error("a fetch that stands still was not stopped")
		}
	})
	t.Run("and nobody comes", func(t *testing.T) {
		s, w := begin(t)
		s.leave(w)
		// The seat does not answer at first: it is asked again.
		if got := s.pass(40 * time.Second); len(got) != 2 || got[0] != "a 31s" || got[1] != "a 37s" {
			t.Errorf("stopped %q", got)
		}
		// While it ends, it is nobody's.
		s.comes("second", 0)
		if d := s.decide(); len(d.orders) != 1 {
			t.Errorf("ordered %+v for the next person", d.orders)
		}
	})
	t.Run("and the seat declines to end", func(t *testing.T) {
		s, w := begin(t)
		s.leave(w)
		if got := s.pass(31 * time.Second); !slices.Equal(got, []string{"a 31s"}) {
			t.Fatalf("stopped %q", got)
		}
		s.fetchesOn("a")
		if got := s.pass(29 * time.Second); len(got) > 0 {
			t.Errorf("it is asked again: %q", got)
		}
		next := s.comes("second", 0)
		if d := s.decide(); len(d.orders) != 0 {
			t.Errorf("ordered %+v: the seat goes on", d.orders)
		}
		s.leave(next)
		if got := s.pass(40 * time.Second); !slices.Equal(got, []string{"a 31s", "a 37s"}) {
			t.Errorf("then it stopped %q", got)
		}
	})
	t.Run("and comes again", func(t *testing.T) {
		s, w := begin(t)
		for i := range 20 {
			s.leave(w)
			if got := s.pass(20 * time.Second); len(got) > 0 {
				t.Fatalf("stopped %q", got)
			}
			w = s.comes(fmt.Sprint("again", i), 0)
			if d := s.decide(); len(d.orders) != 0 {
				t.Fatalf("ordered %+v: the seat that fetches is theirs", d.orders)
			}
			s.pass(time.Second)
		}
	})
	t.Run("and goes to another brain", func(t *testing.T) {
		s, w := begin(t)
		s.leave(w)
		s.elsewhere("first", 0, "")
		if got := s.pass(10 * time.Minute); len(got) > 0 {
			t.Errorf("stopped %q", got)
		}
		s.lineSaid("other", true, nil, nil)
		if got := s.pass(40 * time.Second); len(got) == 0 || got[0] != "a 31s" {
			t.Errorf("stopped %q", got)
		}
	})
	// Their connection here is half dead, so they are at the other brain before this one notices.
	t.Run("and has gone to another brain before", func(t *testing.T) {
		s, w := begin(t)
		s.elsewhere("first", 0, "")
		if got := s.pass(time.Minute); len(got) > 0 || s.order() != "first" {
			t.Fatalf("stopped %q, and the order is %q", got, s.order())
		}
		s.leave(w)
		if got := s.pass(10 * time.Minute); len(got) > 0 {
			t.Errorf("stopped %q", got)
		}
		s.lineSaid("other", false, nil, []string{"first"})
		if got := s.pass(40 * time.Second); len(got) == 0 || got[0] != "a 31s" {
			t.Errorf("stopped %q", got)
		}
	})
	t.Run("and it is nearly there", func(t *testing.T) {
		s, w := begin(t)
		s.leave(w)
		s.fetched("a", 0.95)
		if got := s.pass(35 * time.Second); len(got) > 0 {
			t.Errorf("stopped %q", got)
		}
	})
	t.Run("and its node is not heard", func(t *testing.T) {
		s, w := begin(t)
		s.leave(w)
		s.nodeLost("")
		if got := s.pass(time.Minute); len(got) > 0 {
			t.Errorf("stopped %q", got)
		}
	})
	t.Run("and its brain has died", func(t *testing.T) {
		s := newLineSite(t)
		s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9}}})
		s.fetches("a", "of-another-brain", 0.001)
		if got := s.pass(2 * maxBlocked); len(got) > 0 {
			t.Errorf("a follower stops %q", got)
		}
		s.setLeading(true)
		if got := s.pass(time.Second); !slices.Equal(got, []string{"a 1s"}) {
			t.Errorf("the leader stops %q", got)
		}
	})
	// A person may wait at a brain of which nothing is heard, for any seat of the app.
	t.Run("and a brain is not heard", func(t *testing.T) {
		for what, token := range map[string]string{"own": "", "the pool's": poolToken + "a", "another brain's": "of-another-brain"} {
			t.Run(what, func(t *testing.T) {
				s := newLineSite(t)
				s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9}}})
				if token == "" {
					w := s.comes("first", 0)
					token = s.decide().orders[0].token
					s.leave(w)
				}
				s.setLeading(true)
				s.fetches("a", token, 0.001)
				s.brainsAre([]string{"b", "c"})
				s.lineSaid("b/1", true, nil, nil)
				if got := s.pass(2 * maxBlocked); len(got) > 0 {
					t.Errorf("one brain is not heard, and it stops %q", got)
				}
				s.lineSaid("c/1", true, map[string]wire.Waiting{"p": {App: game, First: s.at}}, nil)
				if got := s.pass(2 * maxBlocked); len(got) > 0 {
					t.Errorf("a person waits there, and it stops %q", got)
				}
				s.lineLost("c/1")
				if got := s.pass(2 * maxBlocked); len(got) > 0 {
					t.Errorf("the brain is not heard any more, and it stops %q", got)
				}
				// What counts begins anew: people of a brain that has died connect again.
				after := unwantedFor
				if what == "another brain's" {
					after = maxBlocked
				}
				s.brainsAre([]string{"b"})
				if got := s.pass(after); !slices.Equal(got, []string{fmt.Sprint("a ", after)}) {
					t.Errorf("the brain is gone, and it stops %q", got)
				}
			})
		}
	})
	t.Run("and the pool has become smaller", func(t *testing.T) {
		s := newLineSite(t)
		s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Warm: 1, Max: 9}}})
		s.setLeading(true)
		s.fetches("a", poolToken+"a", 0.01)
		if got := s.pass(time.Minute); len(got) > 0 {
			t.Fatalf("the pool wants it, and it stops %q", got)
		}
		s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9}}})
		if got := s.pass(32 * time.Second); !slices.Equal(got, []string{"a 31s"}) {
			t.Errorf("stopped %q", got)
		}
	})
}
