package probe

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Distances that no network has: their covariance is none, and the field must not grow without end.
func TestImpossibleDistances(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 2 + r.IntN(40)
		m := model(t, n, func(int, int) (float64, float64) { return []float64{0, 1, 30, MaxRTT}[r.IntN(4)], 0 })
		a := Asked{RTT: map[string]float64{}}
		for range 40 {
			site, ms := m.names[r.IntN(n)], []float64{0, 1, MaxRTT}[r.IntN(3)]
			if a.Hints = append(a.Hints, Hint{site, ms, 0}); r.IntN(3) == 0 {
				a.RTT[site] = ms
			}
		}
		checkPredictions(t, m, a)
	}
}

// checkPredictions looks whether what is expected of the sites are times.
func checkPredictions(t *testing.T, m *Model, a Asked) {
	t.Helper()
	s := new(scratch)
	if m.read(s, &a); len(s.obs) == 0 {
		return
	}
	m.infer(s)
	for i, name := range m.names {
		if s.state[i]&answered != 0 {
			continue
		}
		if ms, err := m.predict(s, i); !(ms >= 0 && ms <= 3*MaxRTT) || !(err >= 0 && err <= 3*MaxRTT) {
			t.Fatalf("%s: %v ± %v", name, ms, err)
		}
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("seed"), uint8(5))
	f.Add([]byte(strings.Repeat("\x00\x40", 400)), uint8(20))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		next := func() uint64 {
			var b [8]byte
			data = data[copy(b[:], data):]
			return binary.LittleEndian.Uint64(b[:])
		}
		number := func() float64 {
			v := next()
			if v%3 == 0 {
				return math.Float64frombits(v)
			}
			return float64(v % 12000)
		}
		n := int(size % 24)
		m, err := New(names(n), func(int, int) (float64, float64) { return number(), number() })
		if err != nil {
			t.Fatal(err)
		}
		a := Asked{Entry: fmt.Sprint("s", next()%24), RTT: map[string]float64{}, Most: int(next() % 10), AtOnce: int(next() % 4)}
		for len(data) > 0 {
			name := fmt.Sprint("s", next()%26)
			switch next() % 4 {
			case 0:
				a.RTT[name] = number()
			case 1:
				a.Failed = append(a.Failed, name)
			case 2:
				a.Unfit = append(a.Unfit, name)
			default:
				a.Hints = append(a.Hints, Hint{name, number(), number()})
			}
		}
		advice := m.Next(a)
		for _, name := range append(advice.Probe, advice.Nearest) {
			if _, ok := m.index[name]; !ok && name != "" {
				t.Fatalf("%q is no site", name)
			}
		}
		if math.IsNaN(advice.Gain) || len(advice.Probe) > max(1, a.AtOnce) {
			t.Fatalf("%+v", advice)
		}
		checkPredictions(t, m, a)
	})
}
