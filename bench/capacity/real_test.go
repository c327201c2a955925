package main

import (
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// The same people come at the same moments, whoever asks, and about as many play as were asked for.
func TestArrivals(t *testing.T) {
	s := site{seats: 4, length: 25 * time.Minute, seed: 3}
	for _, name := range names {
		d, err := readDay(name)
		testkit.Must(t, err)
		const from, lasts, most = 16 * 60., 4 * time.Hour, 40
		people := arrivals(s, d, from, scaleTo(s, d, from, lasts, most), lasts)
		again := arrivals(s, d, from, scaleTo(s, d, from, lasts, most), lasts)
		if len(people) != len(again) || people[len(people)-1] != again[len(again)-1] {
			t.Errorf("%s: %d people, and %d of the same seed", name, len(people), len(again))
		}
		high, before := 0, time.Duration(0)
		for _, p := range people {
			if p.at < before || p.length < 30*time.Second {
				t.Fatalf("%s: %+v comes after %s", name, p, before)
			}
			before = p.at
			n := 0
			for _, q := range people {
				if q.at <= p.at && q.at+q.length > p.at {
					n++
				}
			}
			high = max(high, n)
		}
		if high < most*6/10 || high > most*16/10 {
			t.Errorf("%s: %d people at once, want about %d", name, high, most)
		}
	}
}
