package brain

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestOverstays checks whose session ends while others wait: nobody's but the oldest
// beyond max_when_queued, one for each person that no other seat is on its way to. Each
// is told a minute before.
func TestOverstays(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*App)
		waiting int
		peers   int // people that wait at another brain
		ages    []time.Duration
		idle    int
		follows bool // this brain does not lead
		want    string
	}{
		"one waits, one is over":      {waiting: 1, ages: []time.Duration{20 * time.Minute, 5 * time.Minute}, want: "[seat-0]"},
		"the oldest first":            {waiting: 1, ages: []time.Duration{16 * time.Minute, time.Hour}, want: "[seat-1]"},
		"two wait":                    {waiting: 2, ages: []time.Duration{16 * time.Minute, time.Hour, time.Minute}, want: "[seat-1 seat-0]"},
		"one waits at another brain":  {peers: 1, ages: []time.Duration{20 * time.Minute}, want: "[seat-0]"},
		"nobody waits":                {ages: []time.Duration{20 * time.Minute}, want: "[]"},
		"nobody is over":              {waiting: 1, ages: []time.Duration{12 * time.Minute}, want: "[]"},
		"an idle seat is there":       {waiting: 1, ages: []time.Duration{20 * time.Minute}, idle: 1, want: "[]"},
		"a seat may be started":       {change: func(a *App) { a.Max = 9 }, waiting: 1, ages: []time.Duration{20 * time.Minute}, want: "[]"},
		"signed":                      {change: func(a *App) { a.Access = wire.AccessSigned }, waiting: 1, ages: []time.Duration{20 * time.Minute}, want: "[]"},
		"the job has no limit":        {change: func(a *App) { a.MaxWhenQueued = 0 }, waiting: 1, ages: []time.Duration{20 * time.Minute}, want: "[]"},
		"another brain is the leader": {waiting: 1, ages: []time.Duration{20 * time.Minute}, follows: true, want: "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Unix(1_800_000_000, 0)
			st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now })
			app := App{ID: game, Version: 1, Max: len(c.ages) + c.idle, Access: wire.AccessPublic, MaxWhenQueued: 15 * time.Minute}
			if c.change != nil {
				c.change(&app)
			}
			jobs := JobsChange{All: true, Apps: map[string]App{game: app}, Children: map[string]Child{}}
			var seats []wire.Seat
			add := func(state wire.SeatState, since time.Time) {
				id := fmt.Sprintf("seat-%d", len(seats))
				job := fmt.Sprintf("%s/dispatch-v1-%d", game, len(seats))
				jobs.Children[job] = Child{ID: job, App: game, Version: 1, State: ChildRunning, Alloc: id}
				s := wire.Seat{ID: id, App: game, Job: job, Version: 1, State: state, Since: since, Address: "127.0.0.1:1"}
				if state.Busy() {
					s.Session = ticket.NewSession()
				}
				seats = append(seats, s)
			}
			for _, age := range c.ages {
				add(wire.SeatStreaming, now.Add(-age))
			}
			for range c.idle {
				add(wire.SeatIdle, now)
			}
			st.setLeading(!c.follows)
			st.jobsChanged(jobs)
			st.seatsChanged(seats)
			waitElsewhere(st, c.peers)
			for range c.waiting {
				st.enqueue(newWaiter(ticket.Claims{Session: ticket.NewSession(), App: game}, "", now))
			}
			decide := func() (warned, ended string) {
				d := st.decide()
				return seatsOf(d.warn), seatsOf(d.end)
			}
			ends := func() string { _, ended := decide(); return ended }
			if warned, ended := decide(); warned != c.want || ended != "[]" {
				t.Fatalf("told %s, want %s; ended %s at once", warned, c.want, ended)
			}
			now = now.Add(longestWarning - time.Second)
			if warned, ended := decide(); warned != "[]" || ended != "[]" {
				t.Fatalf("told again %s, ended %s before the minute is over", warned, ended)
			}
			now = now.Add(time.Second)
			if got := ends(); got != c.want {
				t.Fatalf("%s, want %s", got, c.want)
			}
			if got := ends(); got != "[]" {
				t.Errorf("asked again at once: %s", got)
			}
			now = now.Add(endingWithin) // the seats did not hear
			if got := ends(); got != c.want {
				t.Errorf("after %s: %s, want %s", endingWithin, got, c.want)
			}
		})
	}
}

// TestOverstayIsTold checks when a session is told that it will end: a minute before
// max_when_queued, and anew when others came to wait again later, or in a later session of
// the seat.
func TestOverstayIsTold(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now })
	st.setLeading(true)
	st.jobsChanged(JobsChange{
		All:      true,
		Apps:     map[string]App{game: {ID: game, Version: 1, Max: 1, Access: wire.AccessPublic, MaxWhenQueued: 15 * time.Minute}},
		Children: map[string]Child{"job": {ID: "job", App: game, Version: 1, State: ChildRunning, Alloc: "a"}},
	})
	seat := wire.Seat{ID: "a", App: game, Job: "job", Version: 1, State: wire.SeatStreaming, Session: ticket.NewSession(), Since: now, Address: "127.0.0.1:1"}
	st.seatsChanged([]wire.Seat{seat})
	waits := func(n int) { waitElsewhere(st, n) }
	waits(1)
	step := func(name string, d time.Duration, warned, ended string) {
		t.Helper()
		now = now.Add(d)
		if got := st.decide(); seatsOf(got.warn) != warned || seatsOf(got.end) != ended {
			t.Errorf("%s: told %s, ended %s, want %s and %s", name, seatsOf(got.warn), seatsOf(got.end), warned, ended)
		}
	}
	step("after 14 minutes", 14*time.Minute, "[]", "[]")
	step("then", time.Second, "[a]", "[]")
	waits(0)
	step("nobody waits any more", 3*time.Minute, "[]", "[]")
	waits(1)
	step("somebody waits again", 0, "[a]", "[]")
	step("nearly a minute later", 59*time.Second, "[]", "[]")
	step("a minute later", time.Second, "[]", "[a]")
	now = now.Add(endingWithin)
	seat.Session, seat.Since = ticket.NewSession(), now.Add(-time.Hour)
	st.seatsChanged([]wire.Seat{seat})
	step("another session of the seat", 0, "[a]", "[]")
}

func seatsOf(overstays []overstay) string {
	ids := []string{}
	for _, o := range overstays {
		ids = append(ids, o.seat.ID)
	}
	return fmt.Sprint(ids)
}

// waitElsewhere has n people wait at another brain.
func waitElsewhere(st *state, n int) {
	set := map[string]wire.Waiting{}
	for i := range n {
		set[fmt.Sprint("s-elsewhere-", i)] = wire.Waiting{App: game, First: time.Unix(1, 0)}
	}
	st.lineSaid("other", true, set, nil)
}
