package consul

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/reach"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestWithoutConsul checks that a view starts and ends without its agent.
func TestWithoutConsul(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	f, err := fleet.Open(fleet.Config{Address: fmt.Sprintf("127.0.0.1:%d", testkit.Ports(t, 1)[0]), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	v := Watch(ctx, f, "here", nil, slog.New(slog.DiscardHandler))
	testkit.UntilSeen(t, "there is a snapshot", func() (any, bool) {
		s := v.Snapshot()
		return s, len(s.Sites) == 1 && s.Sites[0].Name == "here" && s.Stale() && !s.Ready
	})
	select {
	case <-v.Ready():
		t.Error("ready, and nothing was seen")
	default:
	}
	stop()
	v.Wait()
}

// fakeWatch is a watch that a test arranges.
type fakeWatch struct {
	stale   bool
	success time.Time
}

func (w *fakeWatch) Stale() bool            { return w.stale }
func (w *fakeWatch) LastSuccess() time.Time { return w.success }

func TestStaleSince(t *testing.T) {
	start := noon.Add(-time.Hour)
	fresh := &fakeWatch{success: noon}
	for name, tt := range map[string]struct {
		watches []watch
		want    time.Time
	}{
		"all fresh":     {[]watch{fresh, fresh}, time.Time{}},
		"one stale":     {[]watch{fresh, &fakeWatch{true, noon.Add(-time.Minute)}}, noon.Add(-time.Minute)},
		"the oldest":    {[]watch{&fakeWatch{true, noon.Add(-time.Second)}, &fakeWatch{true, noon.Add(-time.Minute)}}, noon.Add(-time.Minute)},
		"never a word":  {[]watch{fresh, &fakeWatch{stale: true}}, start},
		"fresh and old": {[]watch{&fakeWatch{false, noon.Add(-2 * time.Hour)}}, time.Time{}},
	} {
		s := &site{watches: tt.watches}
		if got := s.staleSince(start); !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestSeen(t *testing.T) {
	s := &site{launchKeys: ticket.LaunchKeys{}, apps: map[string]wire.App{}, brains: []wire.Instance{}}
	if s.seen() {
		t.Error("seen without its routers")
	}
	s.routers = []wire.Instance{}
	if !s.seen() {
		t.Error("an empty site is not seen")
	}
	// Else a router that has just started would refuse every token.
	s.launchKeys = nil
	if s.seen() {
		t.Error("seen without the keys of launch tokens")
	}
}

func TestTarget(t *testing.T) {
	routers := []wire.Instance{{URL: "http://ill"}, {URL: "http://well", Healthy: true}, {Healthy: true}}
	if got := target("far", routers); got.Site != "far" || !slices.Equal(got.URLs, []string{"http://well", "http://ill"}) {
		t.Errorf("%+v", got)
	}
}

func TestDistances(t *testing.T) {
	sites := []string{"far", "here", "near"}
	computed := map[string]bool{} // rows
	predicted := func(from, _ string, _ time.Time) wire.Distance {
		computed[from] = true
		return wire.Distance{RTTMS: 100, ErrorMS: 30}
	}
	measured := wire.Distance{RTTMS: 70, ErrorMS: 1, Measured: true}
	reached := map[string]reach.State{
		"far":  {RTTMS: 80, ErrorMS: 2, Measured: noon.Add(-2 * sampleAge)},
		"near": {RTTMS: 5, ErrorMS: 1, Measured: noon, Distances: map[string]wire.Distance{"far": measured}, DistancesAt: noon.Add(-time.Second)},
	}
	var d distances
	d.refresh(noon, sites, reached, predicted)
	if got := d.rows["near"]["far"]; got != measured {
		t.Errorf("near to far is %+v, and near has measured %+v", got, measured)
	}
	if got := d.rows["far"]["near"]; got.Measured {
		t.Errorf("far has measured nothing, and far to near is %+v", got)
	}
	want := map[string]wire.Distance{
		"near": {RTTMS: 5, ErrorMS: 1, Measured: true},
		"far":  {RTTMS: 100, ErrorMS: 30}, // what was measured is too old
	}
	if got := d.own(noon, "here", sites, reached); !maps.Equal(got, want) {
		t.Errorf("here is %+v away, want %+v", got, want)
	}

	for _, step := range []struct {
		what  string
		after time.Duration // since the last computation
		told  time.Time
		rows  int // that are computed
	}{
		{"nothing is new", coordinatesEvery - time.Second, noon.Add(-time.Second), 0},
		{"coordinates are due", coordinatesEvery, noon.Add(-time.Second), 3},
		{"a row is new", time.Second, noon.Add(time.Hour), 1},
	} {
		d.computed = noon
		clear(computed)
		d.made = map[string]time.Time{"far": noon, "here": noon, "near": noon}
		reached["near"] = reach.State{DistancesAt: step.told}
		d.refresh(noon.Add(step.after), sites, reached, predicted)
		if len(computed) != step.rows {
			t.Errorf("%s: computed %v", step.what, computed)
		}
	}
	d.computed = noon
	clear(computed)
	sites = append(sites, "new")
	if d.refresh(noon, sites, reached, predicted); len(computed) != len(sites) {
		t.Errorf("a new site: computed %v", computed)
	}
	reached["near"] = reach.State{Distances: map[string]wire.Distance{"far": measured}, DistancesAt: noon.Add(-rowAge)}
	d.computed = time.Time{}
	if d.refresh(noon, sites, reached, predicted); d.rows["near"]["far"].Measured {
		t.Error("a row counts that is too old")
	}
}
