package placement

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// warm is a site with everything in order.
func warm(name string) Site {
	return Site{Name: name, Healthy: true, Present: true, Version: 3, Idle: 2, Max: 10, ColdStart: 4000}
}

func with(s Site, change func(*Site)) Site {
	change(&s)
	return s
}

// never fails the test when there is a draw where there must be none.
func never(t *testing.T) func() float64 {
	return func() float64 { t.Error("there was a draw"); return 0 }
}

func order(r Result) string {
	var names []string
	for _, c := range r.Candidates[:r.Serving] {
		names = append(names, c.Site)
	}
	return strings.Join(names, " ")
}

func TestOrder(t *testing.T) {
	a, b, c := warm("a"), warm("b"), warm("c")
	rtt := map[string]float64{"a": 25, "b": 40, "c": 90}
	for _, tt := range []struct {
		name  string
		req   Request
		sites []Site
		want  string
	}{
		{"nearest first", Request{RTT: rtt}, []Site{c, b, a}, "a b c"},
		{"a warm seat at 40 ms beats a cold one at 25", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle = 0 }), b}, "b a"},
		{"a starting seat beats a cold one", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle = 0 }), with(b, func(s *Site) { s.Idle, s.Starting = 0, 1 })}, "b a"},
		{"a cold seat beats a queue", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy = 0, 10 }), with(b, func(s *Site) { s.Idle = 0 })}, "b a"},
		{"the shorter queue", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy, s.Queued = 0, 10, 5 }), with(b, func(s *Site) { s.Idle, s.Busy, s.Queued = 0, 10, 1 })}, "b a"},
		{"the larger site drains its queue faster", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy, s.Queued = 0, 10, 2 }), with(b, func(s *Site) { s.Idle, s.Busy, s.Max, s.Queued = 0, 100, 100, 2 })}, "b a"},
		{"a full site alone is a queue, no refusal", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy, s.Queued = 0, 10, 50 })}, "a"},
		{"idle seats that others wait for are not free", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Queued = 2 }), b}, "b a"},
		{"the queue of shorter sessions", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy, s.Session = 0, 10, 3_600_000 }), with(b, func(s *Site) { s.Idle, s.Busy, s.Session = 0, 10, 120_000 })}, "b a"},
		{"a measured site beats one guessed to be nearer", Request{RTT: map[string]float64{"a": 40}},
			[]Site{a, with(b, func(s *Site) { s.PredictedRTT = 5 })}, "a b"},
		{"the quicker cold start", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle = 0 }), with(b, func(s *Site) { s.Idle, s.ColdStart = 0, 2000 })}, "b a"},
		{"an unknown cold start counts as assumed", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.ColdStart = 0, 0 }), with(b, func(s *Site) { s.Idle = 0 })}, "b a"},
		{"crowding costs less than distance", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy = 1, 5 }), b}, "a b"},
		{"crowding costs something", Request{RTT: map[string]float64{"a": 30, "b": 40}},
			[]Site{with(a, func(s *Site) { s.Idle, s.Busy = 1, 9 }), b}, "b a"},
		{"unmeasured: the entry stands for the person", Request{Entry: "b"}, []Site{a, b}, "b a"},
		{"measured beats a site that did not answer", Request{RTT: map[string]float64{"c": 300}, Entry: "a"}, []Site{a, c}, "c a"},
		{"a prediction is better than an assumption", Request{Entry: "x"},
			[]Site{a, with(b, func(s *Site) { s.PredictedRTT = 80 })}, "b a"},
		{"seats that fail do not matter while some are idle", Request{RTT: rtt},
			[]Site{with(a, func(s *Site) { s.Failing = "no image" }), b}, "a b"},
		{"nothing at all", Request{RTT: rtt}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Rank(tt.req, tt.sites, never(t))
			if got := order(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for _, c := range r.Candidates {
				t.Logf("%s: %.1f = %.1f + %.1f + %.1f; %s", c.Site, c.Score, c.RTT, c.Wait, c.Load, c.Reason)
			}
		})
	}
}

func TestExcluded(t *testing.T) {
	rtt := map[string]float64{"a": 60}
	for _, tt := range []struct {
		name   string
		req    Request
		site   Site
		want   Exclusion
		reason string
	}{
		{"denied", Request{Deny: []string{"b", "a"}}, warm("a"), Denied, "deny list"},
		{"not allowed", Request{Allow: []string{"b"}}, warm("a"), NotAllowed, "not in the request's allow list"},
		{"denied wins over allowed", Request{Allow: []string{"a"}, Deny: []string{"a"}}, warm("a"), Denied, ""},
		{"allowed", Request{Allow: []string{"b", "a"}}, warm("a"), "", "2 seats ready"},
		{"just lost", Request{Lost: []string{"a"}}, warm("a"), Lost, "just lost"},
		{"in the jurisdiction", Request{Residency: []string{"de", "EU"}}, with(warm("a"), func(s *Site) { s.Residency = []string{"fr", "eu"} }), "", ""},
		{"in another jurisdiction", Request{Residency: []string{"us"}}, with(warm("a"), func(s *Site) { s.Residency = []string{"eu", "fr"} }), NoResidency, "it is in eu or fr, not in us"},
		{"in an unknown jurisdiction", Request{Residency: []string{"us"}}, warm("a"), NoResidency, "it is in none"},
		{"the GPU", Request{GPU: "nvidia-l4"}, with(warm("a"), func(s *Site) { s.GPU = []string{"nvidia-t4", "nvidia-l4"} }), "", ""},
		{"another GPU", Request{GPU: "nvidia-l4"}, with(warm("a"), func(s *Site) { s.GPU = []string{"nvidia-t4"} }), NoGPU, "it has nvidia-t4, not nvidia-l4"},
		{"no GPU", Request{GPU: "nvidia-l4"}, warm("a"), NoGPU, "it has none"},
		{"predicted too far", Request{MaxRTT: 50}, with(warm("a"), func(s *Site) { s.PredictedRTT = 51 }), TooFar, "51 ms predicted"},
		{"no app", Request{}, Site{Name: "a", Healthy: true}, NoApp, "does not have the app"},
		{"other version", Request{Version: 4}, warm("a"), NoVersion, "it has 3, not 4"},
		{"the version", Request{Version: 3}, warm("a"), "", ""},
		{"no brain", Request{}, with(warm("a"), func(s *Site) { s.Healthy = false }), NoBrain, "no healthy brain"},
		{"too far", Request{RTT: rtt, MaxRTT: 59.9}, warm("a"), TooFar, "60 ms measured, at most 59.9 ms"},
		{"just near enough", Request{RTT: rtt, MaxRTT: 60}, warm("a"), "", ""},
		{"too far as assumed", Request{MaxRTT: 100}, warm("a"), TooFar, "150 ms assumed, at most 100 ms"},
		{"no seats", Request{}, with(warm("a"), func(s *Site) { s.Idle, s.Max = 0, 0 }), NoSeats, "no seats"},
		{"no more seats allowed, but one is idle", Request{}, with(warm("a"), func(s *Site) { s.Max = 0 }), "", ""},
		{"failing", Request{}, with(warm("a"), func(s *Site) { s.Idle, s.Failing = 0, "error(content-missing): s3://b/k" }), Failing, "s3://b/k"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Rank(tt.req, []Site{tt.site}, never(t))
			c := r.Candidates[0]
			if c.Excluded != tt.want || (tt.want == "") != (r.Serving == 1) {
				t.Errorf("excluded %q, serving %d; want %q", c.Excluded, r.Serving, tt.want)
			}
			if _, ok := r.Best(); ok != (tt.want == "") {
				t.Error("Best does not agree")
			}
			if !strings.Contains(c.Reason, tt.reason) || c.Reason == "" {
				t.Errorf("reason %q, want %q in it", c.Reason, tt.reason)
			}
		})
	}
}

func TestSource(t *testing.T) {
	far := with(warm("c"), func(s *Site) { s.PredictedRTT = 77 })
	r := Rank(Request{RTT: map[string]float64{"a": 12.5, "b": math.NaN(), "d": -1}, Entry: "e"},
		[]Site{warm("a"), warm("b"), far, warm("d"), warm("e")}, func() float64 { return 0 })
	got := map[string]string{}
	for _, c := range r.Candidates {
		got[c.Site] = fmt.Sprint(c.RTT, " ", c.Source)
	}
	for site, want := range map[string]string{
		"a": "12.5 measured", "b": "150 assumed", "c": "77 predicted", "d": "150 assumed", "e": "62.5 assumed",
	} {
		if got[site] != want {
			t.Errorf("%s: %s, want %s", site, got[site], want)
		}
	}
}

func TestNearEqualsAreSpread(t *testing.T) {
	sites := []Site{
		with(warm("a"), func(s *Site) { s.Idle = 1 }),
		with(warm("b"), func(s *Site) { s.Idle = 6 }),
		with(warm("c"), func(s *Site) { s.Idle = 3 }),
		warm("far"),
	}
	req := Request{RTT: map[string]float64{"a": 20, "b": 22, "c": 24, "far": 26}}
	rnd := rand.New(rand.NewPCG(1, 2))
	wins := map[string]int{}
	const n = 10_000
	for range n {
		r := Rank(req, sites, rnd.Float64)
		best, _ := r.Best()
		wins[best.Site]++
		if !strings.Contains(best.Reason, "among 3 equally good sites") {
			t.Fatalf("the reason does not mention the draw: %q", best.Reason)
		}
		if rest := r.Candidates[1:]; !slices.IsSortedFunc(rest, func(a, b Candidate) int { return compare(&a, &b) }) {
			t.Fatal("the runners-up are out of order")
		}
	}
	for site, want := range map[string]float64{"a": 0.1, "b": 0.6, "c": 0.3, "far": 0} {
		if got := float64(wins[site]) / n; math.Abs(got-want) > 0.02 {
			t.Errorf("%s won %.3f, want %.1f", site, got, want)
		}
	}
}

// fuzzed makes a request and sites from bytes: any counts, any floats.
func fuzzed(data []byte) (Request, []Site) {
	next := func() uint64 {
		if len(data) < 8 {
			rest := data
			data = nil
			var b [8]byte
			copy(b[:], rest)
			return binary.LittleEndian.Uint64(b[:])
		}
		n := binary.LittleEndian.Uint64(data)
		data = data[8:]
		return n
	}
	names := []string{"a", "b", "c", "d", "", "a"}
	flags := next()
	req := Request{Version: next() % 3, MaxRTT: math.Float64frombits(next()), Entry: names[flags%6], RTT: map[string]float64{}}
	if flags&64 != 0 {
		req.GPU = "l4"
	}
	if flags&128 != 0 {
		req.Residency = []string{"fr", "eu"}
	}
	if flags&256 != 0 {
		way := math.Float64frombits(next())
		req.Between = func(a, b int) (float64, float64) { return way, float64(a - b) }
	}
	var sites []Site
	for i := 0; len(data) > 0 && i < 64; i++ {
		name := names[i%len(names)]
		f := next()
		req.RTT[name] = math.Float64frombits(next())
		if f&1 != 0 {
			req.Deny = append(req.Deny, name)
		}
		if f&2 != 0 {
			req.Allow = append(req.Allow, name)
		}
		s := Site{Name: name, Healthy: f&4 == 0, Present: f&8 == 0, Version: f >> 4 % 3,
			Idle: int(next()), Busy: int(next()), Starting: int(next()), Queued: int(next()), Max: int(next()),
			ColdStart: math.Float64frombits(next()), PredictedRTT: math.Float64frombits(next())}
		if f&16 != 0 {
			s.Failing = "boom"
		}
		s.PredictedError, s.Session = math.Float64frombits(next()), math.Float64frombits(next())
		if f&32 != 0 {
			s.Residency, s.GPU = []string{"eu", "de"}, []string{"l4"}
		}
		if f&64 != 0 {
			req.Lost = append(req.Lost, name)
		}
		sites = append(sites, s)
	}
	return req, sites
}

func FuzzRank(f *testing.F) {
	f.Add([]byte{}, uint64(1))
	f.Add([]byte(strings.Repeat("\x00", 8*30)), uint64(2))
	f.Add([]byte(strings.Repeat("\xff\x01\x7f\x00", 100)), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		req, sites := fuzzed(data)
		r := Rank(req, sites, rand.New(rand.NewPCG(seed, 0)).Float64)
		again := Rank(req, sites, rand.New(rand.NewPCG(seed, 0)).Float64)
		if len(r.Candidates) != len(sites) {
			t.Fatalf("%d candidates of %d sites", len(r.Candidates), len(sites))
		}
		seen := make([]bool, len(sites))
		for i, c := range r.Candidates {
			if c != again.Candidates[i] {
				t.Fatalf("not the same for one seed: %+v, %+v", c, again.Candidates[i])
			}
			if seen[c.Index] || sites[c.Index].Name != c.Site {
				t.Fatalf("candidate %d is not its site", i)
			}
			seen[c.Index] = true
			if c.Source == Measured && c.RTT < FloorMS || c.Source == Predicted && c.Error < 0 {
				t.Fatalf("a round trip of nothing: %+v", c)
			}
			if c.Score != c.RTT+c.Wait+c.Load || !(c.Score >= 0) || math.IsInf(c.Score, 0) {
				t.Fatalf("%v is not %v + %v + %v", c.Score, c.RTT, c.Wait, c.Load)
			}
			if (c.Excluded == "") != (i < r.Serving) || c.Reason == "" {
				t.Fatalf("candidate %d of %d serving: %+v", i, r.Serving, c)
			}
			if i < r.Serving {
				s := sites[c.Index]
				if !s.Healthy || !s.Present || slices.Contains(req.Deny, s.Name) ||
					len(req.Allow) > 0 && !slices.Contains(req.Allow, s.Name) ||
					slices.Contains(req.Lost, s.Name) || req.GPU != "" && !slices.Contains(s.GPU, req.GPU) ||
					len(req.Residency) > 0 && !slices.Contains(s.Residency, "eu") ||
					req.Version != 0 && req.Version != s.Version || s.Max <= 0 && s.Idle <= 0 {
					t.Fatalf("serves though it must not: %+v", s)
				}
			}
		}
		if rule, site := r.LastRule(); (rule == "") != (r.Serving > 0 || len(sites) == 0) || rule != "" && !slices.ContainsFunc(sites, func(s Site) bool { return s.Name == site }) {
			t.Fatalf("%d serve, and the last rule is %q at %q", r.Serving, rule, site)
		}
		if best, ok := r.Best(); ok {
			for _, c := range r.Candidates[1:r.Serving] {
				if best.Score > c.Score+NearMS || slices.Contains(req.Lost, best.Site) {
					t.Fatalf("%+v wins over %+v", best, c)
				}
			}
		}
	})
}

func BenchmarkRank(b *testing.B) {
	for _, n := range []int{20, 200} {
		b.Run(fmt.Sprintf("%d sites", n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			req := Request{RTT: map[string]float64{}}
			req.Between = func(a, b int) (float64, float64) { return float64(a ^ b), 5 }
			var sites []Site
			for i := range n {
				s := warm(fmt.Sprintf("site-%d", i))
				s.Busy = i % 8
				req.RTT[s.Name] = rnd.Float64() * 200
				sites = append(sites, s)
			}
			b.ReportAllocs()
			var r Ranker
			for b.Loop() {
				r.Rank(req, sites, rnd.Float64)
			}
		})
	}
}
