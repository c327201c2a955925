package main

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/dev/planet"
	"github.com/nearcast/nearcast/internal/wire"
)

// session is what was measured of one session. Times are in ms.
type session struct {
	place, site, best string
	trueRTT, bestRTT  float64 // to the chosen site, to the best
	predicted         float64
	source            wire.RTTSource
	decided           float64
	marks             map[string]float64 // after Play
}

// places measures sessions at each place.
func (b *bench) places(ctx context.Context) error {
	var all []session
	for _, place := range b.options.places {
		if err := b.planet.Locate(place); err != nil {
			return err
		}
		var here []session
		for run := range b.runs {
			s, err := b.session(ctx, place)
			if err != nil {
				return err
			}
			here = append(here, s)
			say("%s, %d of %d: %s, %.1f ms away, decided after %.0f ms, first frame after %.0f ms",
				place, run+1, b.runs, s.site, s.trueRTT, s.decided, s.marks["firstFrame"])
			if b.verbose {
				say("its marks: %v", s.marks)
			}
		}
		if err := b.reportPlace(place, here); err != nil {
			return err
		}
		all = append(all, here...)
	}
	return b.reportAll(all)
}

// session is one visit for the app's first frame.
func (b *bench) session(ctx context.Context, place string) (session, error) {
	s := session{place: place}
	err := b.visit(ctx, func(ctx context.Context, v *visit) error {
		said, err := v.play(ctx)
		if err != nil {
			return err
		}
		chosen := said.Candidates[0]
		s.site, s.predicted, s.source = said.Site, chosen.RTTMS, chosen.RTTSource
		s.decided, s.marks = said.DecidedMS, said.Marks
		if s.trueRTT, err = b.rtt(planet.Person, s.site); err != nil {
			return err
		}
		if s.best, s.bestRTT, err = b.best(""); err != nil {
			return err
		}
		return v.leave(ctx)
	})
	return s, err
}

func (s session) perfect() float64 {
	if s.trueRTT <= s.bestRTT {
		return 1
	}
	return 0
}

func (b *bench) reportPlace(place string, here []session) error {
	var sites, sources []string
	for _, s := range here {
		sites, sources = append(sites, s.site), append(sources, string(s.source))
	}
	with := func(more map[string]any) map[string]any {
		labels := map[string]any{"place": place}
		maps.Copy(labels, more)
		return labels
	}
	chosen := map[string]any{"site": names(sites)}
	return errors.Join(
		b.report.Value("perfect", "share", mean(of(here, session.perfect)), with(map[string]any{"site": names(sites), "best": here[0].best})),
		b.report.Line("regret", "ms", of(here, func(s session) float64 { return s.trueRTT - s.bestRTT }), with(nil)),
		b.report.Line("predicted_rtt", "ms", of(here, func(s session) float64 { return s.predicted }), with(map[string]any{"site": names(sites), "source": names(sources)})),
		b.report.Line("true_rtt", "ms", of(here, func(s session) float64 { return s.trueRTT }), with(chosen)),
		b.reportTimes(here, with(nil)),
	)
}

func (b *bench) reportTimes(all []session, labels map[string]any) error {
	return errors.Join(
		b.report.Line("decision_time", "ms", of(all, func(s session) float64 { return s.decided }), labels),
		b.report.Line("decision_time", "rtt", of(all, func(s session) float64 { return s.decided / s.bestRTT }), labels),
		b.report.Line("first_frame", "ms", of(all, func(s session) float64 { return s.marks["firstFrame"] }), labels),
		b.report.Line("first_frame", "rtt", of(all, func(s session) float64 { return s.marks["firstFrame"] / s.trueRTT }), labels),
	)
}

func (b *bench) reportAll(all []session) error {
	if err := errors.Join(
		b.report.Value("perfect", "share", mean(of(all, session.perfect)), nil),
		b.report.Line("regret", "ms", of(all, func(s session) float64 { return s.trueRTT - s.bestRTT }), nil),
		b.report.Line("rtt_error", "ms", of(all, func(s session) float64 { return math.Abs(s.predicted - s.trueRTT) }), nil),
		b.reportTimes(all, nil),
		b.reportTrips("decision", all, func(s session) float64 { return s.decided }, nil),
	); err != nil {
		return err
	}
	// Leave out sessions at other sites: the router that they asked is not at their site.
	all = slices.DeleteFunc(slices.Clone(all), func(s session) bool { return s.site != s.best })
	before := func(session) float64 { return 0 }
	for _, step := range steps {
		at := func(s session) float64 { return s.marks[step] }
		from := before
		took := func(s session) float64 { return at(s) - from(s) }
		labels := map[string]any{"part": step}
		if err := errors.Join(b.report.Line("first_frame_part", "ms", of(all, took), labels), b.reportTrips("first_frame", all, took, labels)); err != nil {
			return err
		}
		before = at
	}
	return b.reportTrips("first_frame", all, before, map[string]any{"part": "all"})
}

// reportTrips reports how many round trips to the best site a step waits for. It uses
// the fastest session of each place: other load on the machine only adds time.
func (b *bench) reportTrips(measure string, all []session, took func(session) float64, labels map[string]any) error {
	fastest := map[string]session{}
	for _, s := range all {
		if f, ok := fastest[s.place]; !ok || took(s) < took(f) {
			fastest[s.place] = s
		}
	}
	var away, ms []float64
	for _, s := range fastest {
		away, ms = append(away, s.bestRTT), append(ms, took(s))
	}
	trips, work, ok := line(away, ms)
	if !ok {
		return nil // all at the same distance
	}
	return errors.Join(b.report.Value(measure+"_trips", "rtt", trips, labels), b.report.Value(measure+"_work", "ms", work, labels))
}

// line is the Theil–Sen line through points: its slope is the median of the slopes
// between any two points, so that a few late points do not change it. It is not ok where
// all points have the same x.
func line(x, y []float64) (slope, intercept float64, ok bool) {
	var slopes, rests []float64
	for i := range x {
		for j := range i {
			if x[i] != x[j] {
				slopes = append(slopes, (y[i]-y[j])/(x[i]-x[j]))
			}
		}
	}
	if len(slopes) == 0 {
		return 0, 0, false
	}
	slope = median(slopes)
	for i := range x {
		rests = append(rests, y[i]-slope*x[i])
	}
	return slope, median(rests), true
}

// of is a number of each session.
func of(all []session, number func(session) float64) []float64 {
	out := make([]float64, len(all))
	for i, s := range all {
		out[i] = number(s)
	}
	return out
}

// names are the different names, the most frequent first.
func names(all []string) string {
	count := map[string]int{}
	for _, name := range all {
		count[name]++
	}
	return strings.Join(slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		if count[a] != count[b] {
			return count[b] - count[a]
		}
		return strings.Compare(a, b)
	}), ",")
}

// median is the middle value, or the mean of the two in the middle.
func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func mean(of []float64) float64 {
	sum := 0.0
	for _, v := range of {
		sum += v
	}
	return sum / float64(len(of))
}
