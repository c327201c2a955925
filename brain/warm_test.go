package brain

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestWarmth(t *testing.T) {
	t.Parallel()
	begun := func(two, ten int) []sizing.Window {
		return []sizing.Window{{Over: 2 * time.Minute, Count: two}, {Over: 10 * time.Minute, Count: ten}}
	}
	for _, c := range []struct {
		name     string
		w        warmth
		from, to int
	}{
		{"nobody came: one, for the first person", warmth{wait: .01, max: 9}, 1, 1},
		{"one person in ten minutes", warmth{wait: .01, max: 9, begun: begun(0, 1), start: 8 * time.Second}, 1, 2},
		{"one a minute, who wait 8 s for a seat", warmth{wait: .01, max: 9, begun: begun(2, 10), start: 8 * time.Second}, 2, 3},
		{"seats take a minute to start", warmth{wait: .01, max: 99, begun: begun(2, 10), start: time.Minute}, 5, 7},
		{"half of them may wait", warmth{wait: .5, max: 99, begun: begun(2, 10), start: time.Minute}, 1, 2},
		{"a launch is seen in two minutes", warmth{wait: .01, max: 99, begun: begun(120, 121), start: 10 * time.Second}, 16, 20},
		{"never beyond max", warmth{wait: .01, max: 3, begun: begun(120, 600), start: time.Minute}, 3, 3},
		{"a start that nobody measured is ten seconds", warmth{wait: .01, max: 99, begun: begun(120, 600)}, 18, 22},
	} {
		if got := c.w.seats(); got < c.from || got > c.to {
			t.Errorf("%s: %d, want %d to %d", c.name, got, c.from, c.to)
		}
	}
}

// The model: people come by chance, the planner is asked at each change, and seats take a time
// to start. At most the stated share finds no idle seat, and it costs no more idle seats than that
// needs. A fixed number that is right for one hour is wrong for the next.
func TestWarmModel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		rate  float64 // people a second
		start time.Duration
		wait  float64
		came  int
	}{
		{"few", 1. / 120, 8 * time.Second, .05, 3_000},
		{"some", .1, 8 * time.Second, .02, 10_000},
		{"many, slow seats", .5, 40 * time.Second, .02, 15_000},
	} {
		share, idle, most := playWarm(rand.New(rand.NewPCG(5, 6)), c.rate, c.start, c.wait, c.came)
		t.Logf("%s: %.2f %% find no seat, %.2f may; %.1f seats are idle on average, the pool aims at %d at most", c.name, 100*share, 100*c.wait, idle, most)
		if share > c.wait*1.25 {
			t.Errorf("%s: %.4f wait, and %.4f may", c.name, share, c.wait)
		}
		if exact := sizing.Warm(c.rate, c.start.Seconds(), c.wait); float64(most) > 2.2*float64(exact)+3 {
			t.Errorf("%s: the pool aims at %d, and %d is enough", c.name, most, exact)
		}
	}
}

// playWarm plays an app without max: who finds no idle seat, and how many are idle.
func playWarm(r *rand.Rand, rate float64, start time.Duration, wait float64, people int) (share, idleMean float64, most int) {
	a := &appView{app: App{WarmWait: wait, Max: 1 << 20}}
	for range 32 {
		a.coldStarts.add(start)
	}
	began := time.Unix(1_800_000_000, 0)
	now := began
	var ready []time.Time // when seats on their way become idle
	idle, waited, counted, sum := 0, 0, 0, 0.0
	next := now
	for n := 0; n < people; {
		step := now.Add(planEvery)
		if len(ready) > 0 && ready[0].Before(step) {
			step = ready[0]
		}
		if next.Before(step) {
			step = next
		}
		sum += float64(idle) * step.Sub(now).Seconds()
		now = step
		for len(ready) > 0 && !ready[0].After(now) {
			idle, ready = idle+1, ready[1:]
		}
		if !next.After(now) {
			n++
			a.begun.add(now)
			if now.Sub(began) > 20*time.Minute { // the pool knows the rate
				if counted++; idle == 0 {
					waited++
				}
			}
			if idle > 0 {
				idle--
			} else if len(ready) > 0 {
				ready = ready[1:] // the next seat is theirs
			}
			next = now.Add(time.Duration(r.ExpFloat64() / rate * float64(time.Second)))
		}
		a.setWarm(now.Sub(began), now)
		most = max(most, a.aim())
		d := demand{warm: a.aim(), max: a.app.Max, leading: true, counts: counts{idle: idle, starting: len(ready)}}
		for i := range idle {
			d.idle = append(d.idle, idleSeat{id: string(rune('a' + i)), age: time.Minute})
		}
		m := plan(d)
		idle -= len(m.retire)
		for range m.pool {
			ready = append(ready, now.Add(start))
		}
		slices.SortFunc(ready, time.Time.Compare)
	}
	return float64(waited) / float64(counted), sum / now.Sub(began).Seconds(), most
}

// Sessions of the whole site count, whichever brain serves them, and once each.
func TestBegun(t *testing.T) {
	s := newLineSite(t)
	s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9, WarmWait: .01}}})
	s.setLeading(true)
	begun := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.view.apps[game].begun.within(2*time.Minute, s.at.Sub(s.started), s.at).Count
	}
	s.seat("one")
	s.seat("two")
	if begun() != 0 {
		t.Errorf("%d sessions began", begun())
	}
	for _, state := range []wire.SeatState{wire.SeatClaimed, wire.SeatStreaming, wire.SeatDetached, wire.SeatStreaming} {
		s.free[0].State, s.free[0].Session = state, "anna"
		s.seatsChanged(s.free)
	}
	if begun() != 1 {
		t.Errorf("%d sessions began, want 1", begun())
	}
	// The leader keeps one seat warm, publishes that, and tells the autoscaler.
	s.decide()
	apps, _ := s.apps(s.at)
	if got := apps[game].Capacity.Warm; got < 1 || got > 3 {
		t.Errorf("it aims at %d idle seats", got)
	}
	if got := s.demand().Apps[0].Warm; got != apps[game].Capacity.Warm {
		t.Errorf("the autoscaler hears %d", got)
	}
}

// autoSite is a brain that leads, with an app with warm = "auto".
func autoSite(t *testing.T) *lineSite {
	s := newLineSite(t)
	s.jobsChanged(JobsChange{Apps: map[string]App{game: {ID: game, Version: 1, Max: 9, WarmWait: .01}}})
	s.setLeading(true)
	return s
}

// A leader that has just started keeps the idle seats that the one before kept, until five minutes
// have shown that fewer are needed.
func TestWarmOfLeaderBefore(t *testing.T) {
	s := autoSite(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		s.seat(id)
	}
	for range 4 {
		if d := s.decide(); len(d.retire) > 0 {
			t.Fatalf("it retires %v", d.retire)
		}
		s.at = s.at.Add(time.Minute)
		s.timePassed()
	}
	if got := s.demand().Apps[0].Warm; got != 4 {
		t.Errorf("it aims at %d, and 4 are idle", got)
	}
	s.at = s.at.Add(warmHold)
	s.timePassed()
	if d := s.decide(); len(d.retire) != 3 {
		t.Errorf("after %s it retires %v, and nobody came", warmHold, d.retire)
	}
}

// The wait for a node is no start of a seat, and one slow start makes no crowd of warm seats.
func TestStartsAfterWaitForNode(t *testing.T) {
	s := autoSite(t)
	child := Child{ID: "one", App: game, Version: 1, State: ChildBlocked, Created: s.at}
	s.jobsChanged(JobsChange{Children: map[string]Child{"one": child}})
	s.at = s.at.Add(10 * time.Minute)
	child.State, child.Alloc = ChildRunning, "one"
	s.jobsChanged(JobsChange{Children: map[string]Child{"one": child}})
	s.at = s.at.Add(8 * time.Second)
	s.free = append(s.free, wire.Seat{ID: "one", App: game, Job: "one", Version: 1, State: wire.SeatIdle, Since: s.at})
	s.seatsChanged(s.free)
	if got := s.demand().Apps[0].Starts; got.Count != 1 || got.Mean != 8_000 {
		t.Errorf("a start of 8 s after a wait of 10 min for a node: %+v", got)
	}
	a := &appView{app: App{WarmWait: .01, Max: 100}}
	for _, start := range []time.Duration{8 * time.Second, 8 * time.Second, 8 * time.Second, time.Hour} {
		a.coldStarts.add(start)
	}
	now := time.Unix(1_800_000_000, 0)
	for i := range 10 {
		a.begun.add(now.Add(time.Duration(i) * time.Minute))
	}
	a.setWarm(10*time.Minute, now.Add(10*time.Minute))
	if got := a.aim(); got < 2 || got > 4 {
		t.Errorf("it aims at %d warm seats for one person a minute", got)
	}
}

// One person in the first minute of a brain is one person, and not sixty an hour.
func TestWarmOfYoungBrain(t *testing.T) {
	a := &appView{app: App{WarmWait: .01, Max: 100}}
	for range 4 {
		a.coldStarts.add(time.Minute)
	}
	now := time.Unix(1_800_000_000, 0)
	a.begun.add(now)
	if a.setWarm(time.Second, now.Add(time.Second)); a.aim() > 4 {
		t.Errorf("it aims at %d warm seats after one person", a.aim())
	}
}
