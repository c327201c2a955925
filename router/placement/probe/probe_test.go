package probe

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// flat is a plane: round trips are distances, and everything is known exactly.
type flat struct{ x, y []float64 }

func newFlat(n int, seed uint64) flat {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var f flat
	for range n {
		f.x, f.y = append(f.x, rnd.Float64()*200), append(f.y, rnd.Float64()*200)
	}
	return f
}

func (f flat) between(a, b int) (float64, float64) {
	return math.Hypot(f.x[a]-f.x[b], f.y[a]-f.y[b]) + 2, 1
}

func (f flat) from(x, y float64, site int) float64 {
	return math.Hypot(f.x[site]-x, f.y[site]-y) + 8
}

func names(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("s%d", i))
	}
	return out
}

func model(t testing.TB, n int, between Between) *Model {
	t.Helper()
	m, err := New(names(n), between)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// follow follows the advice, and returns the nearest site and how many were asked.
func follow(t testing.TB, m *Model, a *Asked, answer func(site int) (float64, bool)) (nearest string, asked int) {
	t.Helper()
	if a.RTT == nil {
		a.RTT = map[string]float64{}
	}
	for range 100 {
		advice := m.Next(*a)
		if len(advice.Probe) == 0 {
			return advice.Nearest, asked
		}
		if len(advice.Probe) > max(1, a.AtOnce) || !(advice.Gain > 0) {
			t.Fatalf("advice %+v", advice)
		}
		for _, name := range advice.Probe {
			if _, ok := a.RTT[name]; ok || slices.Contains(a.Failed, name) || slices.Contains(a.Unfit, name) {
				t.Fatalf("%s is asked again, or must not be", name)
			}
			asked++
			if ms, ok := answer(m.index[name]); ok {
				a.RTT[name] = ms
			} else {
				a.Failed = append(a.Failed, name)
			}
		}
	}
	t.Fatal("it never ends")
	return "", 0
}

func TestFindsTheNearest(t *testing.T) {
	for _, tt := range []struct {
		sites, most, atOnce int
		want                float64 // share within 1 ms of the best
	}{
		{20, 8, 1, 0.95}, {20, 8, 2, 0.95}, {20, 6, 1, 0.9}, {200, 8, 1, 0.8}, {200, 8, 2, 0.7},
	} {
		t.Run(fmt.Sprintf("%d sites, %d probes, %d at once", tt.sites, tt.most, tt.atOnce), func(t *testing.T) {
			f := newFlat(tt.sites, 7)
			m := model(t, tt.sites, f.between)
			rnd := rand.New(rand.NewPCG(3, 4))
			good := 0
			const people = 200
			for range people {
				x, y := rnd.Float64()*200, rnd.Float64()*200
				best := math.Inf(1)
				for i := range tt.sites {
					best = min(best, f.from(x, y, i))
				}
				a := Asked{Most: tt.most, AtOnce: tt.atOnce}
				site, asked := follow(t, m, &a, func(i int) (float64, bool) { return f.from(x, y, i), true })
				if asked > tt.most {
					t.Fatalf("%d asked", asked)
				}
				if f.from(x, y, m.index[site]) < best+1 {
					good++
				}
			}
			if share := float64(good) / people; share < tt.want {
				t.Errorf("%.2f of the people are at their nearest site, want %.2f", share, tt.want)
			}
		})
	}
}

// TestSilence checks that silence counts: a person far from a site gets its
// answer late, and is not sent to the sites near it.
func TestSilence(t *testing.T) {
	// Two clusters, 100 ms apart; s0 is between them.
	f := flat{x: []float64{50}, y: []float64{0}}
	for i := range 5 {
		f.x, f.y = append(f.x, 0, 100), append(f.y, float64(i), float64(i))
	}
	m := model(t, len(f.x), f.between)
	for _, tt := range []struct {
		silent string
		want   int // which cluster, by remainder
	}{{"s1", 0}, {"s2", 1}} {
		a := Asked{RTT: map[string]float64{"s0": 60}, Silent: map[string]float64{tt.silent: 80}, AtOnce: 1}
		got := m.Next(a)
		if len(got.Probe) != 1 || got.Nearest != "s0" || m.index[got.Probe[0]]%2 != tt.want {
			t.Errorf("%s is silent, and the advice is %+v", tt.silent, got)
		}
		a.Most = 2
		if got := m.Next(a); len(got.Probe) != 0 {
			t.Errorf("a silent site counts as asked, but the advice is %+v", got)
		}
	}
	// Silence alone does not choose a site, and a silent site is not asked again.
	got := m.Next(Asked{Silent: map[string]float64{"s1": 40, "s2": math.NaN()}, AtOnce: 3})
	if len(got.Probe) != 3 || slices.Contains(got.Probe, "s1") {
		t.Errorf("advice %+v", got)
	}
}

func TestStopsWhenNothingIsToBeGained(t *testing.T) {
	f := newFlat(60, 9)
	m := model(t, 60, f.between)
	a := Asked{Most: 60}
	_, asked := follow(t, m, &a, func(i int) (float64, bool) { return f.from(f.x[5], f.y[5], i), true })
	if asked > 25 {
		t.Errorf("%d of 60 sites asked by a person at a site", asked)
	}
}

func TestFirstQuestion(t *testing.T) {
	f := newFlat(30, 5)
	m := model(t, 30, f.between)
	if got := m.Next(Asked{Entry: "s7", EntryNear: true}).Probe; !slices.Equal(got, []string{"s7"}) {
		t.Errorf("a near entry is asked first, not %v", got)
	}
	first := m.Next(Asked{Entry: "s7", AtOnce: 3})
	if len(first.Probe) != 3 || first.Nearest != "s7" {
		t.Errorf("%+v", first)
	}
	for i, a := range first.Probe {
		for _, b := range first.Probe[:i] {
			if ms, _ := m.RTT(a, b); ms < 30 {
				t.Errorf("%s and %s are %v ms apart: not spread", a, b, ms)
			}
		}
	}
	// The first probes avoid sites that failed or cannot serve.
	second := m.Next(Asked{Failed: first.Probe[:1], Unfit: first.Probe[1:2]})
	if slices.Contains(first.Probe[:2], second.Probe[0]) {
		t.Errorf("%v again", second.Probe)
	}
}

func TestUnusualCases(t *testing.T) {
	f := newFlat(20, 3)
	m := model(t, 20, f.between)
	here := func(i int) (float64, bool) { return f.from(f.x[4], f.y[4], i), true }
	t.Run("nobody answers", func(t *testing.T) {
		a := Asked{Entry: "s2", Most: 4}
		site, asked := follow(t, m, &a, func(int) (float64, bool) { return 0, false })
		if asked != tries*4 || slices.Contains(a.Failed, site) || site == "" {
			t.Errorf("%d asked, %q is nearest", asked, site)
		}
	})
	t.Run("the nearest is dead", func(t *testing.T) {
		a := Asked{}
		site, _ := follow(t, m, &a, func(i int) (float64, bool) {
			ms, _ := here(i)
			return ms, i != 4
		})
		if site == "s4" || site == "" {
			t.Errorf("%q is nearest", site)
		}
	})
	t.Run("the nearest cannot serve", func(t *testing.T) {
		a := Asked{Unfit: []string{"s4"}}
		if site, _ := follow(t, m, &a, here); site == "s4" || site == "" {
			t.Errorf("%q is nearest", site)
		}
	})
	t.Run("only what cannot serve was measured", func(t *testing.T) {
		advice := m.Next(Asked{RTT: map[string]float64{"s4": 8}, Unfit: []string{"s4"}})
		if len(advice.Probe) == 0 || advice.Nearest == "s4" || advice.Nearest == "" {
			t.Errorf("%+v", advice)
		}
	})
	t.Run("nonsense is passed over", func(t *testing.T) {
		with := m.Next(Asked{RTT: map[string]float64{"s1": 30, "s2": math.NaN(), "s3": -1, "s5": math.Inf(1), "s6": 1e9, "moon": 2},
			Failed: []string{"moon"}, Unfit: []string{"mars"}, Hints: []Hint{{"s7", math.NaN(), 1}, {"venus", 1, 1}, {"s8", 1, -1}}})
		without := m.Next(Asked{RTT: map[string]float64{"s1": 30}})
		if !slices.Equal(with.Probe, without.Probe) || with.Nearest != without.Nearest {
			t.Errorf("%+v, without %+v", with, without)
		}
	})
	t.Run("no site at all", func(t *testing.T) {
		m := model(t, 0, nil)
		if a := m.Next(Asked{Entry: "x", RTT: map[string]float64{"x": 1}}); len(a.Probe) != 0 || a.Nearest != "" {
			t.Errorf("%+v", a)
		}
	})
	t.Run("one site", func(t *testing.T) {
		m := model(t, 1, nil)
		a := Asked{}
		if site, asked := follow(t, m, &a, func(int) (float64, bool) { return 9, true }); site != "s0" || asked != 1 {
			t.Errorf("%q after %d", site, asked)
		}
	})
}

func TestHints(t *testing.T) {
	f := newFlat(200, 11)
	m := model(t, 200, f.between)
	// Others of the network found s9 near: it is asked first.
	a := Asked{Hints: []Hint{{"s9", 12, 6}, {"s100", 150, 8}}}
	if got := m.Next(a).Probe; !slices.Equal(got, []string{"s9"}) {
		t.Errorf("asks %v", got)
	}
	// What the person measures counts more than hints.
	a.RTT = map[string]float64{"s9": 180}
	if got := m.Next(a); got.Nearest != "s9" || len(got.Probe) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestPredict(t *testing.T) {
	f := newFlat(40, 13)
	m := model(t, 40, f.between)
	a := Asked{RTT: map[string]float64{}}
	for _, i := range []int{0, 5, 10, 15, 20, 25} {
		a.RTT[m.names[i]] = f.from(60, 90, i)
	}
	within := 0
	s := new(scratch)
	if n := m.read(s, &a); n != len(a.RTT) {
		t.Fatalf("%d answers, want %d", n, len(a.RTT))
	}
	m.infer(s)
	for i, name := range m.names {
		truth := f.from(60, 90, i)
		if rtt, ok := a.RTT[name]; ok {
			if s.answer[i] != rtt || s.state[i] != answered {
				t.Errorf("%s answered %v, measured %v", name, s.answer[i], rtt)
			}
			within++
		} else if ms, err := m.predict(s, i); math.Abs(ms-truth) <= 2*err+1e-9 {
			within++
		}
	}
	if within < 36 {
		t.Errorf("%d of 40 within two standard deviations", within)
	}
}

func TestGaps(t *testing.T) {
	f := newFlat(30, 17)
	rnd := rand.New(rand.NewPCG(5, 5))
	m := model(t, 30, func(a, b int) (float64, float64) {
		if rnd.Float64() < 0.3 {
			return math.NaN(), 0
		}
		return f.between(a, b)
	})
	for a := range 30 {
		for b := range 30 {
			want, _ := f.between(a, b)
			if got, ok := m.RTT(m.names[a], m.names[b]); !ok || a != b && math.Abs(got-want) > 40 {
				t.Errorf("%d to %d: %v, is %v", a, b, got, want)
			}
		}
	}
	// It works even if no distance is known.
	blind := model(t, 12, func(int, int) (float64, float64) { return math.NaN(), math.NaN() })
	a := Asked{}
	if site, _ := follow(t, blind, &a, func(i int) (float64, bool) { return float64(100 - i), true }); site == "" {
		t.Error("finds none")
	}
}

func TestNewRefuses(t *testing.T) {
	for _, bad := range [][]string{{"a", "a"}, {"a", ""}} {
		if _, err := New(bad, func(int, int) (float64, float64) { return 1, 1 }); !errors.Is(err, ErrSites) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	f := newFlat(50, 19)
	m := model(t, 50, f.between)
	want := m.Next(Asked{RTT: map[string]float64{"s3": 40}})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				m.Next(Asked{RTT: map[string]float64{names(50)[i%50]: 10}})
				if got := m.Next(Asked{RTT: map[string]float64{"s3": 40}}); !slices.Equal(got.Probe, want.Probe) {
					t.Errorf("%+v, want %+v", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestImprovement(t *testing.T) {
	for z := -6.0; z < 6; z += 0.01 {
		want := z*0.5*math.Erfc(-z/math.Sqrt2) + math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
		if got := improvement(z); math.Abs(got-want) > 1e-4 {
			t.Fatalf("of %v: %v, want %v", z, got, want)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, n := range []int{20, 60, 200} {
		for _, answers := range []int{1, 4, 7} {
			b.Run(fmt.Sprintf("%d sites, %d answers", n, answers), func(b *testing.B) {
				f := newFlat(n, 2)
				m := model(b, n, f.between)
				a := Asked{RTT: map[string]float64{}}
				for i := range answers {
					a.RTT[m.names[i*2]] = f.from(50, 60, i*2)
				}
				b.ReportAllocs()
				for b.Loop() {
					m.Next(a)
				}
			})
		}
	}
}
