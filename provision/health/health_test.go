package health

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	me    = "i-0123456789abcdef0" // what the metadata service says
	other = "i-2"
)

// sick is a node of a group of two that was well, and whose Nomad is dead then.
type sick struct {
	cloud *awstest.Cloud
	c     Config

	mu        sync.Mutex
	looks     int
	well      bool
	looksWell func(look int) bool // in place of well
	unsure    func(look int) bool
	hold      string
	sessions  int
	unknown   error
	part      string // the dead one; default Nomad
	keeping   func() // at the report
	keeps     int
	restarted []string
	kept      string
	marks     []bool
}

func newSick(t *testing.T) *sick {
	s := &sick{cloud: awstest.New(t), well: true}
	s.group(2, member(me), member(other))
	s.c = Config{
		Look: func(context.Context) Seen {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.looks++
			if s.unsure != nil && s.unsure(s.looks) {
				return Seen{Unknown: "no leader"}
			}
			if s.looksWell != nil && s.looksWell(s.looks) {
				return Seen{}
			}
			if s.well {
				s.well = false
				return Seen{}
			}
			return Seen{Dead: []Fault{{Part: cmp.Or(s.part, PartNomad), Unit: "nomad", Err: errors.New("connection refused")}}, Hold: s.hold}
		},
		Sessions: func(context.Context) (int, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.sessions, s.unknown
		},
		Restart: func(_ context.Context, unit string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.restarted = append(s.restarted, unit)
			return nil
		},
		Keep: func(_ context.Context, instance, reason string) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.kept = instance + ": " + reason
			if s.keeps++; s.keeping != nil {
				s.keeping()
			}
			return nil
		},
		Mark: func(given bool) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.marks = append(s.marks, given)
			return nil
		},
		Group: s.cloud.Client(), Meta: s.cloud.IMDS(), Lifecycle: awsapi.Lifecycle{Group: "prod-edge"},
		Dead: 30 * time.Millisecond, Spread: time.Millisecond, Poll: 2 * time.Millisecond, Log: testkit.Logger(t),
	}
	return s
}

func member(id string) awsapi.Member {
	return awsapi.Member{Instance: id, State: "InService", Healthy: true}
}

func (s *sick) group(wanted int, members ...awsapi.Member) {
	s.cloud.Group("prod-edge", wanted, members...)
}

func (s *sick) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := Run(ctx, s.c); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

// do changes what the node is.
func (s *sick) do(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// seen counts the looks.
func (s *sick) seen() (looks, restarts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks, len(s.restarted)
}

func (s *sick) told() (all []string) {
	actions, _ := s.cloud.Actions()
	for _, a := range actions {
		all = append(all, a.Get("Action")+" "+a.Get("InstanceId")+" "+a.Get("HealthStatus"))
	}
	return all
}

// TestDead: what restarts do not help is told once, after the reason is kept.
func TestDead(t *testing.T) {
	s := newSick(t)
	s.cloud.Throttle(2)
	s.run(t)
	testkit.Until(t, "the group hears of it", func() bool { return len(s.told()) > 0 })
	before, _ := s.seen()
	testkit.Until(t, "more looks", func() bool { now, _ := s.seen(); return now > before+20 })
	if told := s.told(); !slices.Equal(told, []string{"SetInstanceHealth " + me + " Unhealthy"}) {
		t.Errorf("the group heard %q", told)
	}
	s.do(func() {
		if !slices.Equal(s.restarted, []string{"nomad", "nomad"}) {
			t.Errorf("restarted: %q", s.restarted)
		}
		if !strings.HasPrefix(s.kept, me+": This node was dead for ") || !strings.Contains(s.kept, "Nomad: connection refused") {
			t.Errorf("it kept %q", s.kept)
		}
		// An earlier process may have left its mark.
		if !slices.Equal(s.marks, []bool{false, true}) {
			t.Errorf("marks: %v", s.marks)
		}
	})
}

// TestDriverIsDead: its Nomad lives, and drains. So the drain is to ask it.
func TestDriverIsDead(t *testing.T) {
	s := newSick(t)
	s.part = "driver"
	s.run(t)
	testkit.Until(t, "the group hears of it", func() bool { return len(s.told()) > 0 })
	before, _ := s.seen()
	testkit.Until(t, "more looks", func() bool { now, _ := s.seen(); return now > before+5 })
	s.do(func() {
		if !slices.Equal(s.marks, []bool{false}) {
			t.Errorf("marks: %v", s.marks)
		}
	})
}

// TestClaimedMeanwhile: a person gets a seat while the reason is written. The group hears nothing until they
// have left, with the reason of then.
func TestClaimedMeanwhile(t *testing.T) {
	s := newSick(t)
	claims := 1
	s.keeping = func() { s.sessions, claims = claims, 0 }
	s.run(t)
	written := func() (n int) { s.do(func() { n = s.keeps }); return n }
	testkit.Until(t, "the reason is written", func() bool { return written() > 0 })
	before, _ := s.seen()
	testkit.Until(t, "more looks than it takes", func() bool { now, _ := s.seen(); return now > before+20 })
	if told := s.told(); len(told) > 0 {
		t.Fatalf("the group heard %q", told)
	}
	s.do(func() { s.sessions = 0 })
	testkit.Until(t, "the group hears of it", func() bool { return len(s.told()) > 0 })
	if n := written(); n != 2 {
		t.Errorf("the reason was written %d times", n)
	}
}

// TestTwoAtOnce: another node of the group gives itself up while the reason is written. The group hears of one.
func TestTwoAtOnce(t *testing.T) {
	s := newSick(t)
	s.keeping = func() { s.group(2, member(me), awsapi.Member{Instance: other, State: "InService"}) }
	s.run(t)
	written := func() (n int) { s.do(func() { n = s.keeps }); return n }
	testkit.Until(t, "the reason is written", func() bool { return written() > 0 })
	before, _ := s.seen()
	testkit.Until(t, "more looks than it takes", func() bool { now, _ := s.seen(); return now > before+20 })
	if told := s.told(); len(told) > 0 {
		t.Errorf("the group heard %q", told)
	}
}

// TestMended: a restart helps for long. When the agent dies again, it has all of its time again.
func TestMended(t *testing.T) {
	s := newSick(t)
	s.c.Well = 4 * time.Millisecond
	s.mends(20)
	s.run(t)
	testkit.Until(t, "it dies many times", func() bool { _, restarts := s.seen(); return restarts > 10 })
	if told := s.told(); len(told) != 0 {
		t.Errorf("the group heard %q", told)
	}
}

// mends makes each restart help for so many looks.
func (s *sick) mends(looks int) {
	until := 1
	s.looksWell = func(look int) bool { return look <= until }
	s.c.Restart = func(context.Context, string) error {
		s.do(func() { s.restarted = append(s.restarted, "nomad"); until = s.looks + looks })
		return nil
	}
}

// TestDiesAgain: an agent that lives for a while after each restart, or at every second look, is dead all the same. What
// is not known is no look at a node that is well, or dead.
func TestDiesAgain(t *testing.T) {
	for name, make := range map[string]func(*sick){
		"hangs after each restart": func(s *sick) { s.mends(20) },
		"every second look":        func(s *sick) { s.looksWell = func(look int) bool { return look%2 == 1 } },
		"not known between":        func(s *sick) { s.unsure = func(look int) bool { return look%2 == 0 } },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSick(t)
			make(s)
			s.run(t)
			testkit.Until(t, "the group hears of it", func() bool { return len(s.told()) > 0 })
			if _, restarts := s.seen(); restarts != 2 {
				t.Errorf("%d restarts", restarts)
			}
		})
	}
}

// TestNotKnown: a node of which it is not known whether it is well was not well yet, and is not sick.
func TestNotKnown(t *testing.T) {
	s := newSick(t)
	s.well, s.unsure = false, func(look int) bool { return look < 20 }
	s.run(t)
	testkit.Until(t, "more looks than it takes", func() bool { now, _ := s.seen(); return now > 70 })
	if _, restarts := s.seen(); restarts > 0 || len(s.told()) > 0 {
		t.Errorf("%d restarts, the group heard %q", restarts, s.told())
	}
}

// TestHeldBack: the group hears nothing while it must not, and hears of the node after that.
func TestHeldBack(t *testing.T) {
	for name, c := range map[string]struct{ hold, release func(*sick) }{
		"a session":                   {func(s *sick) { s.sessions = 1 }, func(s *sick) { s.sessions = 0 }},
		"a seat that does not answer": {func(s *sick) { s.unknown = errors.New("it hangs") }, func(s *sick) { s.unknown = nil }},
		"the site has no leader":      {func(s *sick) { s.hold = "the site's Consul has no leader" }, func(s *sick) { s.hold = "" }},
		"another node starts": {func(s *sick) {
			s.group(2, member(me), member(other), awsapi.Member{Instance: "i-3", State: "Pending:Wait", Healthy: true})
		}, nil},
		"another node ends": {func(s *sick) {
			s.group(2, member(me), awsapi.Member{Instance: other, State: "Terminating:Wait", Healthy: true})
		}, nil},
		"another node is sick":      {func(s *sick) { s.group(2, member(me), awsapi.Member{Instance: other, State: "InService"}) }, nil},
		"the group lacks a node":    {func(s *sick) { s.group(2, member(me)) }, nil},
		"an operator holds it back": {func(s *sick) { s.group(2, awsapi.Member{Instance: me, State: "Standby", Healthy: true}, member(other)) }, nil},
		"the group has let it go":   {func(s *sick) { s.group(1, member(other)) }, nil},
		"it booted just now":        {func(s *sick) { s.c.Young, s.c.Booted = 500*time.Millisecond, time.Now() }, func(*sick) {}},
		"it was not well yet":       {func(s *sick) { s.well, s.c.Boot = false, 200*time.Millisecond }, func(*sick) {}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSick(t)
			began := time.Now()
			c.hold(s)
			s.run(t)
			if least := max(s.c.Boot, s.c.Young); least > 0 {
				testkit.Until(t, "the group hears of it", func() bool { return len(s.told()) > 0 })
				if took := time.Since(began); took < least {
					t.Errorf("the group heard of it after %s", took)
				}
				return
			}
			if s.hold == "" {
				testkit.Until(t, "restarts do not help", func() bool { _, restarts := s.seen(); return restarts == 2 })
			}
			before, _ := s.seen()
			testkit.Until(t, "more looks than it takes", func() bool { now, _ := s.seen(); return now > before+50 })
			if told := s.told(); len(told) != 0 {
				t.Fatalf("the group heard %q", told)
			}
			if c.release == nil {
				s.group(2, member(me), member(other))
			} else {
				s.do(func() { c.release(s) })
			}
			testkit.Until(t, "the group hears of it", func() bool { return len(s.told()) > 0 })
		})
	}
}
