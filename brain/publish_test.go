package brain_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestChangesArePublishedAtOnce(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 1})
	s.nomad.placed = s.ready
	s.brain("b1")
	begun := time.Now() // of the change, until it is seen
	want := 1           // idle seats
	seen := make(chan time.Duration, 100)
	var mu sync.Mutex
	s.fleet.WatchApps(s.ctx, func(apps map[string]wire.App) {
		mu.Lock()
		defer mu.Unlock()
		if apps["game"].Capacity.Idle == want {
			seen <- time.Since(begun)
		}
	})
	wait := func() time.Duration {
		select {
		case d := <-seen:
			return d
		case <-time.After(60 * time.Second):
			t.Fatal("a change was not published")
			return 0
		}
	}
	wait()
	var took []time.Duration
	for i := range 10 {
		mu.Lock()
		for len(seen) > 0 {
			<-seen
		}
		want, begun = i%2, time.Now()
		s.at("alloc-1").set([]wire.SeatState{wire.SeatStreaming, wire.SeatIdle}[want])
		mu.Unlock()
		took = append(took, wait())
	}
	slices.Sort(took)
	t.Logf("from a seat's change to a watcher of its app: median %v, maximum %v", took[5], took[9])
	if took[5] > time.Second {
		t.Errorf("a change was published after %v, want within a second", took[5])
	}
}

func TestAccessIsPublished(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 2, Access: wire.AccessPublic})
	published := s.published("game")
	s.brain("b1")
	s.until("published", func() bool { return published().Access == wire.AccessPublic })
}

func TestSessionLengthIsPublished(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 2})
	s.nomad.placed = s.ready
	published := s.published("game")
	b := s.brain("b1")
	s.until("published", func() bool { return published().ID == "game" })
	if ms := published().Capacity.SessionMS; ms != 0 {
		t.Errorf("before any session: %d ms", ms)
	}
	begin := time.Now()
	p := s.play(b, "game")
	p.expect(wire.MsgAnswer)
	s.until("the session is published", func() bool { return published().Capacity.Busy == 1 })
	p.send(wire.Message{Type: wire.MsgLeave})
	p.expect(wire.MsgEnded)
	s.until("the length is published", func() bool { return published().Capacity.SessionMS > 0 })
	if ms, most := published().Capacity.SessionMS, time.Since(begin).Milliseconds(); ms > most {
		t.Errorf("%d ms, want at most %d", ms, most)
	}
}

func TestQueuedCountsAllReplicas(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 0})
	published := s.published("game")
	a := s.brain("a")
	s.until("a is the leader", func() bool { return published().ID == "game" })
	b, c := s.brain("b"), s.brain("c")
	for _, r := range []*replica{a, b, b, c} {
		s.play(r, "game").expect(wire.MsgQueued)
	}
	s.until("all are counted", func() bool { return published().Capacity.Queued == 4 })
	b.stop()
	begin := time.Now()
	s.until("the people of a dead replica are not counted", func() bool { return published().Capacity.Queued == 2 })
	t.Logf("not counted after %v", time.Since(begin))
}

func TestSiteIsPublished(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	var last wire.SiteInfo
	s.fleet.WatchSite(s.ctx, func(info wire.SiteInfo) {
		mu.Lock()
		defer mu.Unlock()
		last = info
	})
	says := func(land string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return last.Site == "dc1" && slices.Equal(last.Residency, []string{"eu", land}) &&
				slices.Equal(last.GPU, []string{"nvidia-l4"}) && !last.Updated.IsZero()
		}
	}
	a := s.brain("a")
	s.until("published by a", says("land-of-a"))
	s.brain("b")
	a.stop()
	s.until("published by the next leader", says("land-of-b"))
}
