package capture

import (
	"math/rand/v2"
	"testing"
)

// An encoder that uses a part of its target comes to use what it may.
func TestUsage(t *testing.T) {
	const share = 8000.0
	random := rand.New(rand.NewPCG(1, 2))
	u := newUsage()
	run := func(uses float64, pictures int) (used float64) {
		for range pictures {
			size := share * u.factor * uses * (0.5 + random.Float64()) // as x264's, they differ
			used += size / share / float64(pictures)
			u.picture(size, share)
		}
		return used
	}
	for _, c := range []struct {
		what        string
		uses        float64
		pictures    int
		least, most float64 // of what it may use
	}{
		{"the first pictures", 0.8, 10, 0.6, 1.05},
		{"then", 0.8, 60, 0.8, 1.05},
		{"then", 0.8, 200, 0.93, 1.03},
		{"an encoder that uses more", 0.95, 30, 0.93, 1.12},
		{"an encoder that uses too much", 1.1, 60, 1.05, 1.2},
		{"content that needs little", 0.1, 60, 0.05, 0.2},
		{"motion after it", 0.85, 15, 0.7, 1.05},
		{"an encoder that uses very little", 0.5, 600, 0.6, 0.75},
	} {
		if got := run(c.uses, c.pictures); got < c.least || got > c.most {
			t.Errorf("%s: %.2f of what it may, want %.2f to %.2f", c.what, got, c.least, c.most)
		}
	}
}
