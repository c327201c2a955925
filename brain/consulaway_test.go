package brain_test

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestConsulAway stops Consul, as a site is without a leader, while people come to
// free seats. They wait, are told so, and are served when it is back.
func TestConsulAway(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 3, Max: 3})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	s.until("three seats are idle", func() bool { return b.Idle("game") == 3 })

	s.consul.Pause()
	people := []*person{s.play(b, "game")} // the brain does not know yet
	s.until("the brain knows", func() bool { return b.value("nearcast_brain_paused") == 1 })
	told := func(place int) {
		for {
			q := people[place-1].expect(wire.MsgQueued).Queue
			if q.Paused && q.Position == place {
				return
			}
		}
	}
	told(1)
	for place := 2; place <= 3; place++ { // one after the other: their order is known
		laterThanBefore()
		people = append(people, s.play(b, "game"))
		told(place)
	}
	s.consul.Resume()
	begin := time.Now()
	seats := map[string]bool{}
	for _, p := range people {
		seats[p.expect(wire.MsgGranted).Grant.Seat] = true
	}
	t.Logf("served %v after consul was back", time.Since(begin))
	if len(seats) != 3 {
		t.Errorf("three people have the seats %v", seats)
	}
	if n := b.value("nearcast_brain_refusals_total"); n != 0 {
		t.Errorf("%v people were refused", n)
	}
}
