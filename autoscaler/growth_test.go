package autoscaler

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// grower is a pool, of which brains are told.
type grower struct {
	*Strategy
	t   *testing.T
	now time.Time
}

func newGrower(t *testing.T) *grower {
	g := &grower{NewStrategy(hclog.NewNullLogger()), t, time.Unix(1_800_000_000, 0)}
	g.Now = func() time.Time { return g.now }
	return g
}

func (g *grower) told(after time.Duration, app sizing.App, most string, count int64) (wire.Growth, int64) {
	g.t.Helper()
	g.now = g.now.Add(after)
	eval := check([]sizing.App{app}, map[string]string{"seats_per_node": "4", "ready": "2m", "max": most, "node_class": "stream-cpu"})
	said, err := g.size(eval, count)
	if err != nil || len(said.Pools) != 1 || said.Pools[0] != "stream-cpu" || !strings.Contains(said.Policy, "one") {
		g.t.Fatalf("%+v, %v", said, err)
	}
	return said, eval.Action.Count
}

func minutes(ms int64) float64 { return float64(ms) / 60_000 }

// Brains are told that nodes may come while the group may get some, and while those that it got may still start. The
// first look of an autoscaler shows no rise.
func TestGrowth(t *testing.T) {
	g := newGrower(t)
	blocked, idle := sizing.App{Queued: 1, Blocked: 1}, sizing.App{}
	for _, c := range []struct {
		what        string
		after       time.Duration
		app         sizing.App
		max         string
		count       int64
		wait, ready float64
	}{
		{"first seen, at the most", 0, blocked, "2", 2, 0, 0},
		{"no node, and nobody", time.Minute, idle, "2", 0, 8, 2},
		{"somebody comes", time.Minute, blocked, "2", 0, 8, 2},
		{"at the most, requested a moment ago", time.Minute, blocked, "2", 2, 8, 2},
		{"a minute ago", time.Minute, blocked, "2", 2, 8, 1},
		{"late", 6 * time.Minute, blocked, "2", 2, 8, 0},
		{"no more", time.Minute, blocked, "2", 2, 0, 0},
		{"it may have more", time.Minute, idle, "3", 2, 8, 2},
		{"a policy that does not say its max", time.Hour, idle, "", 9, 8, 2},
	} {
		said, _ := g.told(c.after, c.app, c.max, c.count)
		if minutes(said.Wait) != c.wait || minutes(said.Ready) != c.ready {
			t.Errorf("%s: %+v, want %g and %g minutes", c.what, said, c.wait, c.ready)
		}
	}
	if w := (&sized{}).growth(time.Minute, sizing.Decision{}, false, look{most: 1, at: g.now}); w.Wait != leastWait.Milliseconds() {
		t.Errorf("where a node takes a minute: %+v", w)
	}
}

// At its most nodes, a group replaces one: Nomad has fewer than it has.
func TestGrowthWhileReplaced(t *testing.T) {
	taking := 2
	nomad := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		nodes := []string{nodeOf("other", "", false, 0), strings.Replace(nodeOf("stream-cpu", "", false, 0), "ready", "down", 1)}
		for range taking {
			nodes = append(nodes, nodeOf("stream-cpu", "", false, 0))
		}
		fmt.Fprintf(rw, "[%s]", strings.Join(nodes, ","))
	}))
	defer nomad.Close()
	g := newGrower(t)
	if err := g.SetConfig(map[string]string{"nomad_address": nomad.URL}); err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, c := range []struct {
		after       time.Duration
		taking      int
		wait, ready float64
	}{
		{0, 2, 0, 0},
		{time.Minute, 1, 8, 2},
		{time.Minute, 0, 8, 1},
		{time.Minute, 1, 8, 0},
		{7 * time.Minute, 1, 0, 0}, // it does not come
		{time.Minute, 2, 0, 0},
		{time.Minute, 0, 8, 2},
	} {
		taking = c.taking
		said, _ := g.told(c.after, sizing.App{Queued: 1, Blocked: 1}, "2", 2)
		if minutes(said.Wait) != c.wait || minutes(said.Ready) != c.ready {
			t.Errorf("%d of 2 nodes take people: %+v, want %g and %g minutes", taking, said, c.wait, c.ready)
		}
	}
}

// Where nodes carry fewer seats than the policy says, people wait until the node more is ready, and are told of it
// only once it is requested. Where it does not help, these seats are hopeless.
func TestGrowthOfFullNodes(t *testing.T) {
	g := newGrower(t)
	began, count, full := g.now, int64(2), sizing.App{Busy: 2, Queued: 1, Blocked: 1}
	g.told(0, sizing.App{Busy: 2}, "9", count)
	var given time.Time
	for g.now.Sub(began) < 20*time.Minute {
		said, wanted := g.told(15*time.Second, full, "9", count)
		switch {
		case given.IsZero() && wanted == count && said.Ready != 0:
			t.Fatalf("after %s a machine is promised that nobody requested: %+v", g.now.Sub(began), said)
		case wanted > count && given.IsZero():
			given = g.now
			if late := time.Duration(said.Wait)*time.Millisecond - given.Sub(began) - 2*time.Minute; said.Ready != 120_000 || late < time.Minute {
				t.Errorf("%+v: people wait for %s after the node is ready", said, late)
			}
		case said.Hopeless > 0 && (given.IsZero() || g.now.Sub(given) < 4*time.Minute || said.Hopeless != g.now.Sub(given).Milliseconds()):
			t.Fatalf("after %s: %+v", g.now.Sub(began), said)
		case said.Hopeless > 0:
			return
		}
		count = max(count, wanted)
	}
	t.Error("the seats are not hopeless after 20 minutes")
}
