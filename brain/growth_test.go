package brain

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// zeroSite is a leader of a site without a node, with an app that Nomad finds no node for.
type zeroSite struct {
	*lineSite
	children int
	unfit    bool // the job excludes all nodes
}

func newZeroSite(t *testing.T) *zeroSite {
	s := &zeroSite{lineSite: newLineSite(t)}
	s.setLeading(true)
	s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9, Pool: "stream-cpu"}}})
	s.at = s.at.Add(2 * notTold)
	return s
}

// plans dispatches what is planned, and Nomad finds no node for it. What is to be stopped is stopped.
func (s *zeroSite) plans() (stopped int) {
	s.timePassed()
	d := s.decide()
	for _, o := range d.orders {
		s.children++
		id := fmt.Sprintf("child-%d", s.children)
		s.dispatched(o, id, nil)
		s.jobsChanged(JobsChange{Children: map[string]Child{id: {ID: id, App: game, Version: o.app.Version, Token: o.token, State: ChildBlocked, Why: "no node", Unfit: s.unfit, Created: s.at}}})
	}
	for _, id := range d.stop {
		s.jobsChanged(JobsChange{Children: map[string]Child{id: {ID: id, App: game, Version: 1, State: ChildDead, End: &wire.End{Reason: wire.ReasonRetired}}}})
	}
	return len(d.stop)
}

func (s *zeroSite) grows(wait, ready time.Duration, pools ...string) {
	s.growthSaid(wire.Growth{Pools: pools, Wait: wait.Milliseconds(), Ready: ready.Milliseconds()})
}

func (s *zeroSite) capacity() wire.Capacity {
	apps, _ := s.apps(s.at)
	return apps[game].Capacity
}

// endsWithin is after how long somebody's waiting ends, with a look each 10 s; 0 if it does not end. The
// autoscaler says the same of the pool each time.
func (s *zeroSite) endsWithin(w *waiter, most time.Duration, say func()) time.Duration {
	s.t.Helper()
	for passed := time.Duration(0); passed <= most; passed += 10 * time.Second {
		say()
		s.plans()
		if w.ended {
			if o := <-w.outcome; o.message.End == nil || o.message.End.Code != wire.CodeNoCapacity {
				s.t.Errorf("ended with %+v", o.message)
			}
			return max(1, passed)
		}
		s.at = s.at.Add(10 * time.Second)
	}
	return 0
}

// Who finds no node waits for one where the autoscaler says that one may come, and no longer than it says.
func TestWaitForANode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		say      func(*zeroSite)
		from, to time.Duration
	}{
		"nothing scales":                {func(*zeroSite) {}, 1, 1},
		"the pool is at its most nodes": {func(s *zeroSite) { s.grows(0, time.Minute, "stream-cpu", "all") }, 1, 1},
		"another pool grows":            {func(s *zeroSite) { s.grows(12*time.Minute, time.Minute, "stream-gpu") }, 1, 1},
		// Meanwhile the leader replaces the seat that waits (maxBlocked): that begins nothing anew.
		"the pool grows": {func(s *zeroSite) { s.grows(12*time.Minute, 4*time.Minute, "stream-cpu", "all") }, 12 * time.Minute, 12 * time.Minute},
		"it has two policies, and one is at its most": {func(s *zeroSite) {
			for i, wait := range []time.Duration{0, 12 * time.Minute, 0} {
				s.growthSaid(wire.Growth{Policy: fmt.Sprint(i), Pools: []string{"stream-cpu"}, Wait: wait.Milliseconds(), Ready: 1})
			}
		}, 12 * time.Minute, 12 * time.Minute},
		"the job excludes all nodes": {func(s *zeroSite) {
			s.unfit = true
			s.grows(12*time.Minute, time.Minute, "stream-cpu")
		}, unfitFor, unfitFor + 10*time.Second},
		"it says so once":       {func(s *zeroSite) { s.once(func() { s.grows(12*time.Minute, time.Minute, "stream-cpu") }) }, growthFor, growthFor},
		"it says that for ever": {func(s *zeroSite) { s.grows(1e6*time.Hour, time.Minute, "stream-cpu") }, maxNodeWait, maxNodeWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newZeroSite(t)
			got := s.endsWithin(s.comes("anna", 0), time.Hour, func() { c.say(s) })
			if got < c.from || got > c.to {
				t.Errorf("ended after %s, want %s to %s", got, c.from, c.to)
			}
		})
	}
}

// once does something at the first call.
func (s *zeroSite) once(do func()) {
	if s.children == 0 {
		do()
	}
}

// The page is told that a machine starts, and when; routers are told of no fault; the seat that waits is kept;
// and when the node is there, all have a seat.
func TestNodeComes(t *testing.T) {
	t.Parallel()
	s := newZeroSite(t)
	s.grows(12*time.Minute, 4*time.Minute, "stream-cpu", "all")
	anna := s.comes("anna", 0)
	s.plans()
	ben := s.comes("ben", 0)
	for range 10 {
		if s.plans() > 0 || s.capacity().Failing != "" || s.children != 1 {
			t.Fatalf("%d seats were dispatched, some were stopped, or routers are told %q", s.children, s.capacity().Failing)
		}
		s.at = s.at.Add(9 * time.Second)
	}
	s.timePassed()
	if m := <-ben.updates; m.Queue == nil || *m.Queue != (wire.Queue{Position: 2, EstimateMS: 150_000, Machine: true}) {
		t.Errorf("told %+v, and a node is expected in two minutes and a half", m.Queue)
	}
	d := s.demand().Apps[0]
	if d.Queued != 2 || d.Blocked != 1 {
		t.Errorf("the autoscaler is told %+v", d)
	}
	s.jobsChanged(JobsChange{Children: map[string]Child{"child-1": {ID: "child-1", App: game, Version: 1, Token: "anna", Alloc: "a", Node: "new", State: ChildRunning, Created: s.at}}})
	s.nodeSaid(node{"new", "new"}, true, map[string]wire.Seat{"a": {ID: "a", App: game, Job: "child-1", Version: 1, Node: "new", State: wire.SeatIdle, Since: s.at}}, nil)
	if anna.seat != "a" {
		t.Errorf("the first person is offered %q", anna.seat)
	}
	if d := s.decide(); len(d.orders) != 1 {
		t.Errorf("%d seats are dispatched for the second person", len(d.orders))
	}
}

// A brain that has just started has not been told yet.
func TestYoungBrainWaits(t *testing.T) {
	t.Parallel()
	s := newZeroSite(t)
	s.started = s.at
	w := s.comes("anna", 0)
	s.plans()
	s.timePassed()
	if m := <-w.updates; m.Queue == nil || m.Queue.Machine {
		t.Errorf("told %+v, and nobody knows of a machine", m)
	}
	if got := s.endsWithin(w, time.Hour, func() {}); got < notTold || got > notTold+10*time.Second {
		t.Errorf("ended after %s", got)
	}
}

// warm is a site whose app keeps a seat warm, which has found no node for some time.
func warm(t *testing.T, blocked time.Duration, say func(*zeroSite)) *zeroSite {
	s := newZeroSite(t)
	s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9, Warm: 1, Pool: "stream-cpu"}}})
	for range blocked / (10 * time.Second) {
		say(s)
		s.plans()
		s.apps(s.at)
		s.at = s.at.Add(10 * time.Second)
	}
	return s
}

// What a seat waited in vain while no node could come, or while nobody waited for it, does not count.
func TestWaitCountsFromItsBegin(t *testing.T) {
	t.Parallel()
	may := func(s *zeroSite) { s.grows(12*time.Minute, 4*time.Minute, "stream-cpu") }
	for name, before := range map[string]func(*zeroSite){
		"the pool was at its most":      func(s *zeroSite) { s.grows(0, 0, "stream-cpu") },
		"the autoscaler was away":       func(*zeroSite) {},
		"nodes might come all the time": may,
	} {
		s := warm(t, 2*time.Hour, before)
		may(s)
		if got := s.endsWithin(s.comes("anna", 0), time.Hour, func() { may(s) }); got != 12*time.Minute {
			t.Errorf("%s: ended after %s", name, got)
		}
	}
	// A person waits, and the pool may grow only later.
	s := newZeroSite(t)
	s.started = s.at
	w := s.comes("anna", 0)
	s.endsWithin(w, 30*time.Second, func() {})
	if got := s.endsWithin(w, time.Hour, func() { may(s) }); got != 12*time.Minute {
		t.Errorf("told 40 s later: ended after %s", got)
	}
}

// Nobody waits for a node where one more did not help the app's seats. Who came since then does.
func TestHopelessSeats(t *testing.T) {
	t.Parallel()
	hopeless := func(ago time.Duration) func(*zeroSite) {
		return func(s *zeroSite) {
			s.growthSaid(wire.Growth{Pools: []string{"stream-cpu"}, Wait: (12 * time.Minute).Milliseconds(), Ready: 1, Hopeless: ago.Milliseconds()})
		}
	}
	for ago, want := range map[time.Duration]time.Duration{30 * time.Minute: 1, 2 * time.Hour: 12 * time.Minute} {
		s := warm(t, time.Hour, hopeless(ago))
		failing := s.capacity().Failing
		if got := s.endsWithin(s.comes("anna", 0), time.Hour, func() { hopeless(ago)(s) }); got != want || (failing != "") != (want == 1) {
			t.Errorf("a node more came %s ago, and the seat waits for an hour: ended after %s, routers are told %q", ago, got, failing)
		}
	}
}

// After one has waited in vain, nobody waits before something has changed.
func TestNobodyWaitsAgain(t *testing.T) {
	t.Parallel()
	may := func(s *zeroSite) { s.grows(12*time.Minute, 4*time.Minute, "stream-cpu") }
	for name, c := range map[string]struct {
		change func(*zeroSite)
		want   time.Duration
	}{
		"nothing changes": {func(*zeroSite) {}, 1},
		"a new version": {func(s *zeroSite) {
			s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 2, Max: 9, Pool: "stream-cpu"}}})
		}, 12 * time.Minute},
		"the pool may grow again": {func(s *zeroSite) { s.grows(0, 0, "stream-cpu") }, 12 * time.Minute},
		"half an hour later":      {func(s *zeroSite) { s.at = s.at.Add(gaveUpFor) }, 12 * time.Minute},
	} {
		s := newZeroSite(t)
		anna := s.comes("anna", 0)
		if got := s.endsWithin(anna, time.Hour, func() { may(s) }); got != 12*time.Minute {
			t.Fatalf("ended after %s", got)
		}
		s.leave(anna)
		s.plans()
		s.at = s.at.Add(2 * time.Minute)
		s.plans()
		may(s)
		s.at = s.at.Add(time.Second)
		c.change(s)
		s.at = s.at.Add(time.Second)
		if got := s.endsWithin(s.comes("ben", 0), time.Hour, func() { may(s) }); got != c.want {
			t.Errorf("%s: the next one ended after %s, want %s", name, got, c.want)
		}
	}
}

// Routers compare the time until the node is ready with other sites' starts, for the first person too.
func TestRoutersKnowOfTheNode(t *testing.T) {
	t.Parallel()
	s := newZeroSite(t)
	s.grows(12*time.Minute, 4*time.Minute, "stream-cpu")
	if c := s.capacity(); c.ColdStartMS != 0 {
		t.Errorf("while there is a node: %+v", c)
	}
	clear(s.view.nodes)
	if c := s.capacity(); c.ColdStartMS != 240_000 || c.Failing != "" {
		t.Errorf("before the first person: %+v", c)
	}
	s.view.of(game).failures = &backOff{version: 7, failures: 1} // of an earlier version
	s.comes("anna", 0)
	s.plans()
	s.at = s.at.Add(time.Minute)
	if c := s.capacity(); c.ColdStartMS != 180_000 || c.Starting != 0 || c.Queued != 1 || c.Failing != "" {
		t.Errorf("while the first person waits: %+v", c)
	}
	s.grows(20*time.Minute, 0, "stream-cpu")
	if c := s.capacity(); c.ColdStartMS != maxNodeStart.Milliseconds() {
		t.Errorf("while nobody knows when the node is ready: %+v", c)
	}
	s.grows(0, 0, "stream-cpu")
	if c := s.capacity(); c.ColdStartMS != 0 || c.Failing == "" {
		t.Errorf("where none may come: %+v", c)
	}
}

// What is asked, as for routers and the console, changes nothing of what is known of an app without a node.
func TestToAskIsToChangeNothing(t *testing.T) {
	t.Parallel()
	s := newZeroSite(t)
	s.unfit = true
	s.grows(12*time.Minute, 4*time.Minute, "stream-cpu")
	s.comes("anna", 0)
	s.plans()
	s.at = s.at.Add(unfitFor / 2)
	s.plans()
	a := s.view.of(game)
	for range 3 {
		s.at = s.at.Add(12 * time.Minute)
		s.grows(12*time.Minute, 4*time.Minute, "stream-cpu")
		before := a.nodeless
		s.capacity()
		s.failing()
		s.placeOf(a, 1, s.at)
		if a.nodeless != before {
			t.Errorf("was %+v, is %+v", before, a.nodeless)
		}
	}
}

// That a job excluded all nodes an hour ago does not count for somebody who comes now.
func TestUnfitAnHourAgo(t *testing.T) {
	t.Parallel()
	s := newZeroSite(t)
	s.unfit = true
	grows := func() { s.grows(12*time.Minute, time.Minute, "stream-cpu") }
	if got := s.endsWithin(s.comes("anna", 0), time.Hour, grows); got < unfitFor {
		t.Fatalf("ended after %s", got)
	}
	for n := range s.children {
		id := fmt.Sprintf("child-%d", n+1)
		s.jobsChanged(JobsChange{Children: map[string]Child{id: {ID: id, App: game, Version: 1, State: ChildDead, End: &wire.End{Reason: wire.ReasonRetired}}}})
	}
	s.at = s.at.Add(time.Hour)
	if got := s.endsWithin(s.comes("ben", 0), time.Hour, grows); got < unfitFor {
		t.Errorf("ended after %s", got)
	}
}
