package brain

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// The window grows with quick claims, shrinks once a second while they are slow, and stays
// within its bounds.
func TestWindow(t *testing.T) {
	w, now := newWindow(), time.Now()
	for range 100_000 {
		w.claimed(10*time.Millisecond, now)
	}
	if w.offers() != mostOffers {
		t.Errorf("after quick claims: %d", w.offers())
	}
	for range 50 {
		w.claimed(2*slowClaim, now)
	}
	if w.offers() != mostOffers/2 {
		t.Errorf("after one second of slow claims: %d", w.offers())
	}
	for range 20 {
		now = now.Add(shrinkEvery)
		w.shrink(now)
	}
	if w.offers() != leastOffers {
		t.Errorf("after many seconds of slow claims: %d", w.offers())
	}
	w.claimed(10*time.Millisecond, now)
	for range leastOffers {
		w.claimed(10*time.Millisecond, now)
	}
	if w.offers() != leastOffers+1 {
		t.Errorf("it does not grow again: %d", w.offers())
	}
}

// The pace falls to what was taken in while work waits, and rises again.
func TestPace(t *testing.T) {
	p := newPace(func() bool { return false })
	at := func() float64 { return float64(p.limit.Limit()) }
	p.step(time.Millisecond, 300)
	if at() != fastestPace {
		t.Errorf("a calm brain takes %v a second", at())
	}
	p.step(2*calmWait, 1000)
	if at() != 850 {
		t.Errorf("a busy brain that took 1000 a second takes %v", at())
	}
	for range 100 {
		p.step(2*calmWait, at())
	}
	if at() != slowestPace {
		t.Errorf("a brain that stays busy takes %v", at())
	}
	for range 100 {
		p.step(0, at())
	}
	if at() != fastestPace {
		t.Errorf("a brain that is calm again takes %v", at())
	}
}

// While people who are inside wait for free seats, few come in, and not none.
func TestSeatsFirst(t *testing.T) {
	var behind atomic.Bool
	behind.Store(true)
	p := newPace(behind.Load)
	began := time.Now()
	testkit.Must(t, p.Wait(t.Context()))
	if took := time.Since(began); took < seatsFirst {
		t.Errorf("the next person came in after %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ctx); err == nil {
		t.Error("somebody came in at the end")
	}
	behind.Store(false)
	began = time.Now()
	for range 100 {
		testkit.Must(t, p.Wait(t.Context()))
	}
	if took := time.Since(began); took > 100*seatsFirst/2 {
		t.Errorf("a hundred people came in within %v where nobody waits", took)
	}
}

// TestDueOfFew has an app with few seats, of which each counts where it is one of the last.
func TestDueOfFew(t *testing.T) {
	at := time.Now()
	for name, tc := range map[string]struct {
		is, want wire.Capacity
		due      bool
	}{
		"a session begins, a seat starts":  {wire.Capacity{Idle: 4, Busy: 5, Max: 20}, wire.Capacity{Idle: 3, Busy: 6, Starting: 1, Max: 20}, false},
		"the first of many plays":          {wire.Capacity{Idle: 50, Max: 90}, wire.Capacity{Idle: 49, Busy: 1, Starting: 1, Max: 90}, false},
		"the first of few plays":           {wire.Capacity{Idle: 5, Max: 90}, wire.Capacity{Idle: 4, Busy: 1, Starting: 1, Max: 90}, true},
		"the last but one":                 {wire.Capacity{Idle: 2, Max: 20}, wire.Capacity{Idle: 1, Busy: 1, Max: 20}, true},
		"the last":                         {wire.Capacity{Idle: 1, Busy: 3, Max: 20}, wire.Capacity{Busy: 4, Starting: 1, Max: 20}, true},
		"a seat starts where none is idle": {wire.Capacity{Busy: 4, Max: 20}, wire.Capacity{Busy: 4, Starting: 1, Max: 20}, true},
		"one is idle again":                {wire.Capacity{Busy: 4, Starting: 1, Max: 20}, wire.Capacity{Idle: 1, Busy: 4, Max: 20}, true},
		"no more may start":                {wire.Capacity{Busy: 19, Max: 20}, wire.Capacity{Busy: 20, Max: 20}, true},
		"one of many plays where all do":   {wire.Capacity{Busy: 30, Queued: 30, Max: 30}, wire.Capacity{Busy: 29, Queued: 30, Max: 30}, false},
		"the operator allows more":         {wire.Capacity{Idle: 4, Busy: 5, Max: 20}, wire.Capacity{Idle: 4, Busy: 5, Max: 21}, true},
	} {
		is := wire.App{ID: "game", Capacity: tc.is, Updated: at}
		if got := due(is, wire.App{ID: "game", Capacity: tc.want}, at.Add(time.Second)); got != tc.due {
			t.Errorf("%s: %v", name, got)
		}
		if !due(is, wire.App{ID: "game", Capacity: tc.want}, at.Add(smallChangesEvery)) {
			t.Errorf("%s is never written", name)
		}
	}
}

func TestDue(t *testing.T) {
	at := time.Now()
	is := wire.App{ID: "game", Capacity: wire.Capacity{Idle: 100, Busy: 100, Starting: 2, Max: 300, SessionMS: 900_000}, Updated: at}
	for name, tc := range map[string]struct {
		change func(a *wire.App)
		later  time.Duration
		want   bool
	}{
		"the same":                    {func(a *wire.App) {}, 0, false},
		"the same, later":             {func(a *wire.App) {}, time.Hour, false},
		"one of many":                 {func(a *wire.App) { a.Capacity.Idle--; a.Capacity.Busy++ }, time.Second, false},
		"one of many, after a while":  {func(a *wire.App) { a.Capacity.Idle-- }, smallChangesEvery, true},
		"a fifth":                     {func(a *wire.App) { a.Capacity.Idle -= 20 }, time.Second, true},
		"none left":                   {func(a *wire.App) { a.Capacity.Idle = 0 }, time.Second, true},
		"one starts, others are idle": {func(a *wire.App) { a.Capacity.Starting-- }, time.Second, false},
		"as many wait as are idle":    {func(a *wire.App) { a.Capacity.Idle, a.Capacity.Queued = 90, 90 }, time.Second, true},
		"the first in the queue":      {func(a *wire.App) { a.Capacity.Queued = 1 }, time.Second, true},
		"a somewhat longer session":   {func(a *wire.App) { a.Capacity.SessionMS += 60_000 }, time.Second, false},
		"a title":                     {func(a *wire.App) { a.Title = "Game" }, time.Second, true},
		"it fails":                    {func(a *wire.App) { a.Capacity.Failing = "why" }, time.Second, true},
		"the writer's clock is ahead": {func(a *wire.App) { a.Capacity.Idle-- }, -time.Hour, true},
	} {
		want := is
		want.Updated = time.Time{}
		tc.change(&want)
		if got := due(is, want, at.Add(tc.later)); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
