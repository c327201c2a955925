package main

import (
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestLine(t *testing.T) {
	// Four round trips and 50 ms, with one session in five held up.
	var x, y []float64
	for i := range 20 {
		x = append(x, float64(10+i%4*40))
		y = append(y, 4*x[i]+50)
		if i%5 == 0 {
			y[i] += 900
		}
	}
	slope, rest, ok := line(x, y)
	if !ok || math.Abs(slope-4) > 1e-9 || math.Abs(rest-50) > 1e-9 {
		t.Errorf("slope %v, rest %v, %v; want 4, 50", slope, rest, ok)
	}
	if _, _, ok := line([]float64{8, 8}, []float64{1, 2}); ok {
		t.Error("a line through one distance")
	}
	if _, _, ok := line(nil, nil); ok {
		t.Error("a line through nothing")
	}
}

// The fastest session of each place counts, by the distance of the best site.
func TestTrips(t *testing.T) {
	var out strings.Builder
	b := &bench{report: report.New(&out)}
	var all []session
	for _, place := range []string{"near", "far", "farther"} {
		away := map[string]float64{"near": 10, "far": 60, "farther": 150}[place]
		for _, late := range []float64{400, 0, 90} {
			all = append(all, session{place: place, bestRTT: away, decided: 2.5*away + 20 + late})
		}
	}
	if err := b.reportTrips("decision", all, func(s session) float64 { return s.decided }, nil); err != nil {
		t.Fatal(err)
	}
	const want = `{"measure":"decision_trips","unit":"rtt","value":2.5}
{"measure":"decision_work","unit":"ms","value":20}
`
	if out.String() != want {
		t.Errorf("got %s want %s", out.String(), want)
	}
}

func TestNames(t *testing.T) {
	if got := names([]string{"b", "a", "c", "a", "c", "a"}); got != "a,c,b" {
		t.Error(got)
	}
}

func TestMedian(t *testing.T) {
	for want, of := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(of); got != want {
			t.Errorf("median of %v is %v", of, got)
		}
	}
}

func TestPerfect(t *testing.T) {
	for want, s := range map[float64]session{
		1: {site: "a", best: "b", trueRTT: 20, bestRTT: 20}, // as near as the best
		0: {site: "a", best: "b", trueRTT: 21, bestRTT: 20},
	} {
		if got := s.perfect(); got != want {
			t.Errorf("%+v: %v", s, got)
		}
	}
}

func TestEstimate(t *testing.T) {
	var b estimate
	b.add(wire.Distance{}, 100) // not known yet
	b.add(wire.Distance{RTTMS: 90, ErrorMS: 5}, 100)
	b.add(wire.Distance{RTTMS: 205, ErrorMS: 1, Measured: true}, 200)
	if !slices.Equal(b.off, []float64{10, 5}) || !slices.Equal(b.percent, []float64{10, 2.5}) ||
		!slices.Equal(b.claim, []float64{5, 1}) || b.measured != 1 {
		t.Errorf("%+v", b)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-only", "coordinates,loss", "-minutes", "5,0.5", "-sites", "us-east-1", "-runs", "2"}, t.Output())
	if err != nil || !slices.Equal(o.minutes, []time.Duration{30 * time.Second, 5 * time.Minute}) ||
		!slices.Equal(o.only, []string{"coordinates", "loss"}) || !slices.Equal(o.sites, []string{"us-east-1"}) || o.runs != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range []string{"-only nothing", "-places atlantis", "-places 48.1,11.6", "-lose atlantis", "-minutes soon", "-minutes -1", "-runs 0", "-losses 0", "loss"} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s passes", args)
		}
	}
}
