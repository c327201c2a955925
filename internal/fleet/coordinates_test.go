package fleet

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/serf/coordinate"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// at is a coordinate ms milliseconds along the first axis.
func at(ms, err float64) *coordinate.Coordinate {
	c := coordinate.NewCoordinate(coordinate.DefaultConfig())
	c.Vec[0], c.Error, c.Height = ms/1000, err, 0
	return c
}

func broken(change func(*coordinate.Coordinate)) *coordinate.Coordinate {
	c := at(10, 0.1)
	change(c)
	return c
}

func TestCoordinateMap(t *testing.T) {
	type said = map[string][]*coordinate.Coordinate
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	settled := said{"a": {at(0, 0.1)}, "b": {at(80, 0.2)}}
	with := func(site string, c ...*coordinate.Coordinate) said {
		out := said{"a": settled["a"], "b": settled["b"]}
		out[site] = c
		return out
	}
	for _, tt := range []struct {
		name  string
		first said          // what is learned at start
		then  said          // and later, unless nil
		later time.Duration // when it is asked
		from  string
		to    string
		want  wire.Distance
	}{
		{"settled when the router started", settled, nil, 0, "a", "b", wire.Distance{RTTMS: 80, ErrorMS: 16}},
		{"the other way", settled, nil, 0, "b", "a", wire.Distance{RTTMS: 80, ErrorMS: 16}},
		{"itself", settled, nil, 0, "a", "a", wire.Distance{}},
		{"never heard of", settled, nil, 0, "a", "c", wire.Distance{Untrusted: "no coordinates of c"}},
		{"gone", settled, said{"a": {at(0, 0.1)}}, time.Second, "a", "b", wire.Distance{Untrusted: "no coordinates of b"}},
		{"nothing was ever said", nil, nil, 0, "a", "b", wire.Distance{Untrusted: "not been asked"}},
		{"no coordinates yet", with("b"), nil, 0, "a", "b", wire.Distance{Untrusted: "b: its servers have no coordinates yet"}},
		{"nil among them", with("b", nil, at(80, 0.2)), nil, 0, "a", "b", wire.Distance{RTTMS: 80, ErrorMS: 16}},
		{"just born, as Consul begins", with("b", at(80, 1.5)), nil, 0, "a", "b",
			wire.Distance{RTTMS: 80, ErrorMS: 120, Untrusted: "too uncertain (error 1.50, at most 0.60)"}},
		{"settling since the router started", with("b", at(80, 1.5)), with("b", at(80, 0.25)), time.Minute, "a", "b",
			wire.Distance{RTTMS: 80, ErrorMS: 20, Untrusted: "b was seen first 1m0s ago"}},
		{"settled since the router started", with("b", at(80, 1.5)), with("b", at(80, 0.25)), youth, "a", "b",
			wire.Distance{RTTMS: 80, ErrorMS: 20}},
		{"a site that comes later, sure of itself", said{"a": settled["a"]}, settled, 0, "a", "b",
			wire.Distance{RTTMS: 80, ErrorMS: 16, Untrusted: "b was seen first 0s ago"}},
		{"never settles", with("b", at(80, 0.7)), with("b", at(80, 0.7)), time.Hour, "a", "b",
			wire.Distance{RTTMS: 80, ErrorMS: 56, Untrusted: "too uncertain"}},
		{"stale", settled, nil, maxAge + time.Minute, "a", "b",
			wire.Distance{RTTMS: 80, ErrorMS: 16, Untrusted: "the coordinates are 6m0s old"}},
		{"not a number", with("b", broken(func(c *coordinate.Coordinate) { c.Vec[3] = math.NaN() })), nil, 0, "a", "b",
			wire.Distance{Untrusted: "b: its coordinates are not numbers"}},
		{"infinite", with("a", broken(func(c *coordinate.Coordinate) { c.Height = math.Inf(1) })), nil, 0, "a", "b",
			wire.Distance{Untrusted: "a: its coordinates are not numbers"}},
		{"negative error", with("b", at(80, -1)), nil, 0, "a", "b", wire.Distance{Untrusted: "not numbers"}},
		{"another dimensionality", with("b", broken(func(c *coordinate.Coordinate) { c.Vec = c.Vec[:2] })), nil, 0, "a", "b",
			wire.Distance{Untrusted: "b: its coordinates have 2 dimensions instead of 8"}},
		{"one server of three makes no sense", with("b", at(80, 0.2), broken(func(c *coordinate.Coordinate) { c.Error = math.NaN() }), at(90, 0.1)), nil, 0,
			"a", "b", wire.Distance{RTTMS: 80, ErrorMS: 8}},
		{"the median of the pairs", said{"a": {at(0, 0.1), at(10, 0.1), at(2, 0.1)}, "b": {at(80, 0.1), at(82, 0.1), at(400, 0.1)}}, nil, 0,
			"a", "b", wire.Distance{RTTMS: 80, ErrorMS: 8}},
		{"beside one another", with("b", at(0.1, 0.5)), with("b", at(0.1, 0.5)), youth, "a", "b", wire.Distance{RTTMS: 0.1, ErrorMS: leastErrorMS}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			coordinates := NewCoordinateMap()
			if tt.first != nil {
				coordinates.Learn(tt.first, start)
			}
			if tt.then != nil {
				coordinates.Learn(tt.then, start.Add(tt.later))
			}
			got := coordinates.Distance(tt.from, tt.to, start.Add(tt.later))
			if why := got.Untrusted; (why == "") != (tt.want.Untrusted == "") || !strings.Contains(why, tt.want.Untrusted) {
				t.Errorf("untrusted: %q, want %q", why, tt.want.Untrusted)
			}
			if got.Untrusted = tt.want.Untrusted; got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestFederation reads what two real datacenters say of one another.
func TestFederation(t *testing.T) {
	t.Parallel()
	consuls := testkit.FederateConsul(t, "near", "far")
	f := open(t, consuls[0])
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer f.Close()

	sites, err := f.Sites(ctx)
	if err != nil || len(sites) != 2 {
		t.Fatalf("sites: %v, %v", sites, err)
	}
	seen := newLatest[wire.SiteInfo]()
	f.At("far").WatchSite(ctx, seen.set)
	info := wire.SiteInfo{Site: "far", Residency: []string{"eu", "de"}, GPU: []string{"nvidia-l4"}, Updated: time.Now().UTC().Truncate(time.Second)}
	other := open(t, consuls[1])
	defer other.Close()
	if err := other.PublishSite(ctx, info); err != nil {
		t.Fatal(err)
	}
	seen.wait(t, 10*time.Second, "what far says of itself", func(i wire.SiteInfo) bool { return len(i.GPU) == 1 && i.Residency[1] == "de" })

	coordinates := NewCoordinateMap()
	learned := make(chan struct{}, 1)
	follow, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.FollowCoordinates(follow, coordinates, 200*time.Millisecond, func() {
			select {
			case learned <- struct{}{}:
			default:
			}
		})
	}()
	for d := (wire.Distance{}); d.RTTMS == 0; {
		select {
		case <-learned:
			d = coordinates.Distance("near", "far", time.Now())
		case <-ctx.Done():
			t.Fatalf("no distance after a minute: %+v", d)
		}
	}
	d := coordinates.Distance("near", "far", time.Now())
	if d.Untrusted == "" || d.RTTMS > 50 || d.ErrorMS <= 0 {
		t.Errorf("%+v: two datacenters on one machine, just born", d)
	}
	t.Logf("%+v", d)
	end()
	<-done

}
