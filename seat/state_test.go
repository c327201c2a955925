package seat

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// fakeClock is a clock that only pass moves.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	at      time.Time
	f       func()
	stopped bool
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := !t.stopped
		t.stopped = true
		return was
	}
}

// pass moves the clock by d and fires the timers that are due, in order.
func (c *fakeClock) pass(d time.Duration) {
	c.mu.Lock()
	until := c.now.Add(d)
	for {
		var due *fakeTimer
		for _, t := range c.timers {
			if !t.stopped && !t.at.After(until) && (due == nil || t.at.Before(due.at)) {
				due = t
			}
		}
		if due == nil {
			break
		}
		due.stopped = true
		if due.at.After(c.now) {
			c.now = due.at
		}
		c.mu.Unlock()
		due.f()
		c.mu.Lock()
	}
	c.now = until
	c.mu.Unlock()
}

func testLimits() limits {
	return limits{lease: 15 * time.Second, grace: time.Minute, idle: 10 * time.Minute, max: time.Hour, prepare: wire.PrepareFor}
}

// newTestState returns the state of an idle seat, and a function that lists the states it had.
func newTestState(t *testing.T, l limits) (*stateMachine, *fakeClock, func() []wire.SeatState) {
	t.Helper()
	clock := newFakeClock()
	var mu sync.Mutex
	var states []wire.SeatState
	s := newStateMachine(wire.Seat{ID: "alloc", App: "viewer"}, l, clock, func(from wire.SeatState, now wire.Seat) {
		mu.Lock()
		defer mu.Unlock()
		if from != now.State {
			states = append(states, now.State)
		}
	})
	if err := s.claim("early"); !errors.Is(err, errBusy) {
		t.Fatalf("claim of a starting seat: %v", err)
	}
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
	return s, clock, func() []wire.SeatState {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(states)
	}
}

func wantState(t *testing.T, s *stateMachine, state wire.SeatState, session string) {
	t.Helper()
	if now := s.snapshot(); now.State != state || now.Session != session {
		t.Fatalf("seat is %s of %q, want %s of %q", now.State, now.Session, state, session)
	}
}

func wantEnd(t *testing.T, s *stateMachine, reason wire.Reason) {
	t.Helper()
	select {
	case <-s.ended:
	default:
		t.Fatalf("seat is %s, want it ended", s.snapshot().State)
	}
	if got := s.result().Reason; got != reason {
		t.Fatalf("ended by %s, want %s", got, reason)
	}
}

func wantNotEnded(t *testing.T, s *stateMachine) {
	t.Helper()
	select {
	case <-s.ended:
		t.Fatalf("seat ended: %v", s.result())
	default:
	}
}

func TestStates(t *testing.T) {
	s, _, states := newTestState(t, testLimits())
	if err := s.claim("a"); err != nil {
		t.Fatal(err)
	}
	s.connected("a")
	s.lost("a")
	s.connected("a")
	if err := s.endSession("a", wire.End{Reason: wire.ReasonLeft}); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, wire.ReasonLeft)
	want := []wire.SeatState{wire.SeatIdle, wire.SeatClaimed, wire.SeatStreaming, wire.SeatDetached, wire.SeatStreaming, wire.SeatEnding}
	if got := states(); !slices.Equal(got, want) {
		t.Errorf("went through %v, want %v", got, want)
	}
	// Ending is final, and the first reason counts.
	s.endWith(wire.End{Reason: wire.ReasonDrained})
	s.connected("a")
	if err := s.claim("b"); !errors.Is(err, errEnding) {
		t.Errorf("claim of an ending seat: %v", err)
	}
	wantState(t, s, wire.SeatEnding, "a")
	wantEnd(t, s, wire.ReasonLeft)
}

func TestSimultaneousClaims(t *testing.T) {
	for range 50 {
		s, _, _ := newTestState(t, testLimits())
		var won atomic.Int64
		var wait sync.WaitGroup
		start := make(chan struct{})
		for i := range 50 {
			wait.Go(func() {
				<-start
				err := s.claim(fmt.Sprint("session-", i))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, errBusy) {
					t.Errorf("claim: %v", err)
				}
			})
		}
		close(start)
		wait.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d sessions have the seat", won.Load())
		}
	}
}

func TestLease(t *testing.T) {
	s, clock, _ := newTestState(t, testLimits())
	if err := s.claim("a"); err != nil {
		t.Fatal(err)
	}
	clock.pass(15*time.Second - 1)
	wantState(t, s, wire.SeatClaimed, "a")
	clock.pass(1)
	wantState(t, s, wire.SeatIdle, "")
	s.connected("a") // too late
	wantState(t, s, wire.SeatIdle, "")
	if err := s.claim("a"); !errors.Is(err, errUsed) {
		t.Errorf("the same ticket again: %v", err)
	}
	if err := s.claim("b"); err != nil {
		t.Fatal(err)
	}
	// The second claim has a lease of its own, and connecting ends it.
	clock.pass(14 * time.Second)
	s.connected("b")
	clock.pass(5 * time.Minute)
	wantState(t, s, wire.SeatStreaming, "b")
}

func TestGrace(t *testing.T) {
	s, clock, _ := newTestState(t, testLimits())
	_ = s.claim("a")
	s.connected("a")
	s.lost("a")
	clock.pass(59 * time.Second)
	s.connected("a")
	clock.pass(59 * time.Second)
	s.lost("a")
	clock.pass(time.Minute - 1)
	wantNotEnded(t, s)
	clock.pass(1)
	wantEnd(t, s, wire.ReasonLost)
}

func TestIdleTimeout(t *testing.T) {
	s, clock, _ := newTestState(t, testLimits())
	_ = s.claim("a")
	s.connected("a")
	for range 3 {
		clock.pass(9 * time.Minute)
		if !s.recordInput("a") {
			t.Fatal("input was refused")
		}
	}
	if s.recordInput("b") {
		t.Error("input of another session was taken")
	}
	clock.pass(10*time.Minute - 1)
	wantNotEnded(t, s)
	clock.pass(1)
	wantEnd(t, s, wire.ReasonIdle)
}

func TestMaxDuration(t *testing.T) {
	s, clock, _ := newTestState(t, limits{lease: 15 * time.Second, grace: time.Minute, max: time.Hour})
	_ = s.claim("a")
	clock.pass(10 * time.Second) // does not count: the person sees nothing yet
	s.connected("a")
	clock.pass(30 * time.Minute)
	s.lost("a")
	clock.pass(30 * time.Second)
	s.connected("a")
	clock.pass(29*time.Minute + 30*time.Second - 1)
	wantNotEnded(t, s)
	clock.pass(1)
	wantEnd(t, s, wire.ReasonTimeLimit)
}

func TestMaxDurationOfTicket(t *testing.T) {
	for name, c := range map[string]struct{ job, ticket, want time.Duration }{
		"the ticket's is smaller": {time.Hour, time.Minute, time.Minute},
		"the job's is smaller":    {time.Minute, time.Hour, time.Minute},
		"only the ticket has one": {0, time.Minute, time.Minute},
		"only the job has one":    {time.Minute, 0, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s, clock, _ := newTestState(t, limits{lease: 15 * time.Second, grace: time.Minute, max: c.job})
			_ = s.claimFor(holder{session: "a", max: c.ticket})
			s.connected("a")
			clock.pass(c.want - 10*time.Second)
			s.lost("a") // a lost browser does not stop the time
			clock.pass(10*time.Second - 1)
			wantNotEnded(t, s)
			clock.pass(1)
			wantEnd(t, s, wire.ReasonTimeLimit)
		})
	}
	t.Run("it is not the next session's", func(t *testing.T) {
		s, clock, _ := newTestState(t, limits{lease: 15 * time.Second, grace: time.Minute})
		_ = s.claimFor(holder{session: "a", max: time.Minute})
		s.releaseClaim("a")
		_ = s.claim("b")
		s.connected("b")
		clock.pass(time.Hour)
		wantNotEnded(t, s)
	})
}

func TestNoLimits(t *testing.T) {
	s, clock, _ := newTestState(t, limits{lease: time.Second, grace: time.Second})
	_ = s.claim("a")
	s.connected("a")
	clock.pass(1000 * time.Hour)
	wantState(t, s, wire.SeatStreaming, "a")
}

func TestIdleSeatWaitsForever(t *testing.T) {
	s, clock, _ := newTestState(t, testLimits())
	_ = s.claim("a")
	clock.pass(1000 * time.Hour)
	wantState(t, s, wire.SeatIdle, "")
}

func TestRetire(t *testing.T) {
	s, _, _ := newTestState(t, testLimits())
	_ = s.claim("a")
	if err := s.retire(); !errors.Is(err, errBusy) {
		t.Errorf("retire of a claimed seat: %v", err)
	}
	s.releaseClaim("b")
	wantState(t, s, wire.SeatClaimed, "a")
	s.releaseClaim("a")
	if err := s.retire(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, wire.ReasonRetired)
}

func TestStopFetching(t *testing.T) {
	s := newStateMachine(wire.Seat{Progress: wire.Progress{Phase: wire.PhaseContent}}, testLimits(), realClock{}, func(wire.SeatState, wire.Seat) {})
	s.progress(wire.Progress{Phase: wire.PhaseDisplay})
	if err := s.stopFetching(); !errors.Is(err, errBusy) {
		t.Errorf("a seat that starts its display: %v", err)
	}
	s.progress(wire.Progress{Phase: wire.PhaseContent})
	if err := s.stopFetching(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, wire.ReasonRetired)
	idle, _, _ := newTestState(t, testLimits())
	if err := idle.stopFetching(); !errors.Is(err, errBusy) {
		t.Errorf("an idle seat: %v", err)
	}
	wantState(t, idle, wire.SeatIdle, "")
}

func TestOtherSessions(t *testing.T) {
	s, _, _ := newTestState(t, testLimits())
	_ = s.claim("a")
	s.connected("b")
	wantState(t, s, wire.SeatClaimed, "a")
	s.connected("a")
	s.lost("b")
	s.releaseClaim("a") // has no effect: the session streams
	wantState(t, s, wire.SeatStreaming, "a")
	if err := s.endSession("b", wire.End{Reason: wire.ReasonLeft}); !errors.Is(err, errNotHolder) {
		t.Errorf("end of another session: %v", err)
	}
	wantNotEnded(t, s)
}

// Concurrent calls never cause a transition that does not exist.
func TestTransitionsUnderConcurrency(t *testing.T) {
	legal := map[wire.SeatState][]wire.SeatState{
		wire.SeatStarting:  {wire.SeatIdle, wire.SeatEnding},
		wire.SeatIdle:      {wire.SeatClaimed, wire.SeatEnding},
		wire.SeatClaimed:   {wire.SeatIdle, wire.SeatStreaming, wire.SeatEnding},
		wire.SeatStreaming: {wire.SeatDetached, wire.SeatEnding},
		wire.SeatDetached:  {wire.SeatStreaming, wire.SeatEnding},
	}
	for range 100 {
		s, clock, states := newTestState(t, testLimits())
		var wait sync.WaitGroup
		for i := range 8 {
			session := fmt.Sprint("s", i)
			wait.Go(func() {
				if s.claim(session) == nil {
					s.connected(session)
				}
				s.lost(session)
				s.connected(session)
				s.recordInput(session)
				s.releaseClaim(session)
			})
			wait.Go(func() { clock.pass(5 * time.Second) })
		}
		wait.Go(func() { _ = s.retire() })
		wait.Wait()
		before := wire.SeatStarting
		for _, state := range states() {
			if !slices.Contains(legal[before], state) {
				t.Fatalf("%s → %s in %v", before, state, states())
			}
			before = state
		}
	}
}
