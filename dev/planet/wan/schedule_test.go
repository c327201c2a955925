package wan

import (
	"math/rand/v2"
	"testing"
)

func TestScheduleKeepsTimeAndOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var s schedule
	var last flying
	check := func() {
		p := s.take()
		if p.before(&last) {
			t.Fatalf("%d, %d comes after %d, %d", p.due, p.order, last.due, last.order)
		}
		last = p
	}
	for range 2000 {
		// Never earlier than what was taken, as packets are.
		s.add(flying{due: last.due + random.Int64N(50)})
		if random.IntN(3) == 0 {
			check()
		}
	}
	for range len(s.heap) {
		check()
	}
	if _, any := s.next(); any {
		t.Error("an empty schedule has something due")
	}
}
