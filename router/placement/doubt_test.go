package placement

import (
	"math"
	"strings"
	"testing"
)

func TestContradicts(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		name             string
		a, b, way, error float64
		want             bool
	}{
		{"a place between the two", 40, 60, 95, 5, false},
		{"a place beside them", 120, 130, 12, 2, false},
		{"a crooked route", 60, 110, 20, 5, false},
		{"0 ms to both sides of an ocean", 0, 0, 150, 10, true},
		{"as far as the error allows", 0, 0, 150, 100, false},
		{"near one, far from its neighbour", 1, 200, 10, 5, true},
		{"the same the other way round", 200, 1, 10, 5, true},
		{"the distance is unknown", 0, 500, nan, 5, false},
		{"the error is unknown", 0, 500, 10, nan, false},
		{"no number", nan, 500, 10, 5, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Contradicts(tt.a, tt.b, tt.way, tt.error); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// oceans puts a and b on one side of an ocean, c and d on the other.
func oceans(a, b int) (float64, float64) {
	if a/2 == b/2 {
		return 15, 3
	}
	return 180, 20
}

func TestLiar(t *testing.T) {
	sites := []Site{warm("a"), warm("b"), warm("c"), warm("d")}
	honest := map[string]float64{"a": 20, "b": 28, "c": 170, "d": 190}
	for _, tt := range []struct {
		name  string
		rtt   map[string]float64
		doubt string // the sites whose claims are marked
		best  string // where the claims send the caller, if to one site
	}{
		{"honest", honest, "", ""},
		{"0 ms to everywhere", map[string]float64{"a": 0, "b": 0, "c": 0, "d": 0}, "a b c d", ""},
		{"0 ms to one far site", map[string]float64{"a": 20, "b": 28, "c": 0, "d": 190}, "c d", "c"},
		{"one claim contradicts nothing", map[string]float64{"c": 0}, "", "c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Rank(Request{RTT: tt.rtt, Between: oceans}, sites, func() float64 { return 0 })
			marked := map[string]bool{}
			for _, c := range r.Candidates {
				marked[c.Site] = c.Doubt
				if c.Doubt != strings.Contains(c.Reason, "contradicts") {
					t.Errorf("%s: doubt %v, and the reason is %q", c.Site, c.Doubt, c.Reason)
				}
				if c.claimed == 0 && c.Source == Measured && (c.RTT != FloorMS || !strings.Contains(c.Reason, "impossible")) {
					t.Errorf("%s: %v ms, %q", c.Site, c.RTT, c.Reason)
				}
			}
			for _, want := range strings.Fields(tt.doubt) {
				if !marked[want] {
					t.Errorf("%s is not doubted", want)
				}
				delete(marked, want)
			}
			for site, yes := range marked {
				if yes && tt.best == "" {
					t.Errorf("%s is doubted", site)
				}
			}
			if best, _ := r.Best(); tt.best != "" && best.Site != tt.best {
				t.Errorf("the claim sends the caller to %s, not to %s", best.Site, tt.best)
			}
		})
	}
}

// TestLiarHarmsNobodyElse checks that what one caller claims does not change what the next one gets.
func TestLiarHarmsNobodyElse(t *testing.T) {
	sites := []Site{warm("a"), warm("b"), warm("c"), warm("d")}
	honest := Request{RTT: map[string]float64{"a": 20, "b": 28, "c": 170, "d": 190}, Between: oceans}
	before := Rank(honest, sites, never(t))
	Rank(Request{RTT: map[string]float64{"a": 0, "b": 0, "c": 0, "d": 0}, Between: oceans}, sites, func() float64 { return 0.5 })
	after := Rank(honest, sites, never(t))
	for i := range before.Candidates {
		if before.Candidates[i] != after.Candidates[i] {
			t.Errorf("%+v became %+v", before.Candidates[i], after.Candidates[i])
		}
	}
}

func TestLastRule(t *testing.T) {
	eu := with(warm("a"), func(s *Site) { s.Residency = []string{"eu"} })
	us := with(warm("b"), func(s *Site) { s.Residency = []string{"us"} })
	for _, tt := range []struct {
		name string
		req  Request
		rule Exclusion
		site string
	}{
		{"one serves", Request{Deny: []string{"a"}}, "", ""},
		{"all denied", Request{Deny: []string{"a", "b"}}, Denied, "a"},
		{"allow after deny", Request{Deny: []string{"a"}, Allow: []string{"a"}}, NotAllowed, "b"},
		{"residency after deny", Request{Deny: []string{"a"}, Residency: []string{"eu"}}, NoResidency, "b"},
		{"lost", Request{Lost: []string{"b"}, Deny: []string{"a"}}, Lost, "b"},
		{"GPU after residency", Request{Residency: []string{"eu"}, GPU: "x"}, NoGPU, "a"},
		{"distance last", Request{Residency: []string{"us"}, MaxRTT: 10}, TooFar, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule, site := Rank(tt.req, []Site{us, eu}, func() float64 { return 0 }).LastRule()
			if rule != tt.rule || site != tt.site {
				t.Errorf("%q took %q, want %q and %q", rule, site, tt.rule, tt.site)
			}
			if rule != "" && !rule.Preference() {
				t.Errorf("%q is the request's own rule", rule)
			}
		})
	}
	rule, _ := Rank(Request{}, []Site{with(us, func(s *Site) { s.Healthy = false })}, never(t)).LastRule()
	if rule != NoBrain || rule.Preference() {
		t.Errorf("%q, preference %v", rule, rule.Preference())
	}
}
