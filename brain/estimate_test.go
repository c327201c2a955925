package brain

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A simulation of an app at its maximum: what people are told when they come against how long
// they wait. For people at similar places, the median of what they are told must be within 30 %
// of the median of what they wait.
func TestEstimates(t *testing.T) {
	const seed = 1
	for name, length := range map[string]func(r *rand.Rand) time.Duration{
		"all sessions are as long": func(*rand.Rand) time.Duration { return 15 * time.Minute },
		"sessions end by chance":   func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(15*time.Minute)) },
		"a few sessions are long": func(r *rand.Rand) time.Duration {
			return time.Duration(math.Exp(r.NormFloat64()) * float64(9*time.Minute))
		},
		"some look, and others play": func(r *rand.Rand) time.Duration { return []time.Duration{time.Minute, 30 * time.Minute}[r.IntN(2)] },
	} {
		for _, seats := range []int{4, 50} {
			told, waited := simulate(rand.New(rand.NewPCG(seed, uint64(seats))), seats, 2*time.Second, length)
			for _, places := range [][2]int{{1, 3}, {4, 20}, {21, 100}} {
				var a, b []float64
				for place := places[0]; place <= places[1]; place++ {
					a, b = append(a, told[place]...), append(b, waited[place]...)
				}
				if len(a) < 200 {
					t.Fatalf("%s, %d seats: only %d people at places %v", name, seats, len(a), places)
				}
				slices.Sort(a)
				slices.Sort(b)
				ratio := a[len(a)/2] / b[len(b)/2]
				t.Logf("%s, %d seats, places %v: %d people are told %.0f s and wait %.0f s (%.2f)", name, seats, places, len(a), a[len(a)/2], b[len(b)/2], ratio)
				if math.Abs(ratio-1) > 0.3 {
					t.Errorf("%s, %d seats, places %v: told %.2f of what they wait", name, seats, places, ratio)
				}
			}
		}
	}
}

// simulate has people come to an app with so many seats at a rate that rises and falls around
// what it can serve. told and waited are in seconds, by the place at which a person came.
func simulate(r *rand.Rand, seats int, start time.Duration, length func(*rand.Rand) time.Duration) (told, waited map[int][]float64) {
	told, waited = map[int][]float64{}, map[int][]float64{}
	type person struct {
		place    int
		at, told float64
	}
	mean := 0.0
	for range 10_000 {
		mean += length(r).Seconds() / 10_000
	}
	var (
		lengths durations
		queue   []person
		ends    []float64 // of busy seats
		begun   []float64
		now     float64
		next    float64 // when the next person comes
	)
	rate := float64(seats) / mean
	for range 200_000 {
		// What happens next: somebody comes, or a seat that has served is replaced.
		i := -1
		for j, at := range ends {
			if at <= next && (i < 0 || at < ends[i]) {
				i = j
			}
		}
		if i >= 0 {
			now = ends[i]
			lengths.add(time.Duration((now - begun[i] - start.Seconds()) * float64(time.Second)))
			if len(queue) == 0 {
				ends, begun = slices.Delete(ends, i, i+1), slices.Delete(begun, i, i+1)
				continue
			}
			p := queue[0]
			queue = queue[1:]
			if p.told >= 0 && lengths.n > 64 {
				told[p.place], waited[p.place] = append(told[p.place], p.told), append(waited[p.place], now-p.at)
			}
			begun[i], ends[i] = now, now+length(r).Seconds()+start.Seconds()
			continue
		}
		now = next
		// Days with busy evenings. Nobody joins a queue of a hundred.
		next = now + r.ExpFloat64()/(rate*(1+0.9*math.Sin(now/(20*mean))))
		if len(queue) == 100 {
			continue
		}
		if len(ends) < seats {
			begun, ends = append(begun, now), append(ends, now+length(r).Seconds()+start.Seconds())
			continue
		}
		p := person{place: len(queue) + 1, at: now, told: -1}
		if left := estimate(p.place, len(ends), lengths.mean(), start); left >= 0 {
			p.told = float64(left) / 1000
		}
		queue = append(queue, p)
	}
	return told, waited
}
