package cloud

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// newBack is a cluster with a release at version 6 of the templates, whose nodes are of version 5. With
// fails, a-1 gets it, until an edge node does not come up.
func newBack(t *testing.T, fails bool) (*Cluster, map[string]*fakeSite, map[string]*fakeCloud, *[]string) {
	t.Helper()
	c, sites, clouds, log := newRoll(t)
	for _, f := range clouds {
		f.templates = map[string]*Template{}
		for _, group := range []string{"n-server", "n-edge", "n-stream-cpu"} {
			f.templates[group] = &Template{ID: "lt-1", Version: 6, Nodes: map[int]int{5: 3}}
		}
	}
	if fails {
		clouds["a-1"].fails["n-edge"] = "an alarm went off"
		if err := c.Roll(t.Context(), RollOptions{}); err == nil || !strings.Contains(err.Error(), "take the release back: nearcast cloud roll --back") {
			t.Fatalf("a bad release: %v", err)
		}
		delete(clouds["a-1"].fails, "n-edge")
		*log = nil
	}
	return c, sites, clouds, log
}

// TestBack: after a release that stopped half way, all groups launch the version of before, then their nodes
// are replaced, servers last. That servers are all of the new version does not matter, nor that
// another site is sick. A second run does not go further back.
func TestBack(t *testing.T) {
	c, sites, clouds, log := newBack(t, true)
	if !maps.Equal(clouds["a-1"].templates["n-server"].Nodes, map[int]int{6: 3}) {
		t.Fatal("the servers did not get the release")
	}
	sites["b-1"].servers[1].Healthy = false
	back := RollOptions{Sites: c.Outputs.Sites[:1], Back: true}
	if err := c.Roll(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a-1 n-edge version 5", "a-1 n-server version 5", "a-1 n-edge 34%", "a-1 n-server 34%"}; !slices.Equal(*log, want) {
		t.Errorf("done: %q", *log)
	}
	*log = nil
	clouds["a-1"].templates["n-edge"].Nodes[4] = 1 // one that was forgotten long ago
	if err := c.Roll(t.Context(), back); err != nil || !slices.Equal(*log, []string{"a-1 n-edge 34%"}) {
		t.Errorf("the second time: %v, done: %q", err, *log)
	}
	*log = nil
	if err := c.Roll(t.Context(), back); err == nil || !strings.Contains(err.Error(), "nothing to take back") || len(*log) > 0 {
		t.Errorf("the third time: %v, done: %q", err, *log)
	}
	// The next release is none of before.
	clouds["a-1"].templates["n-edge"] = &Template{ID: "lt-1", Version: 7, Nodes: map[int]int{5: 3}}
	if err := c.Roll(t.Context(), RollOptions{Sites: back.Sites, Roles: []string{"edge"}, Back: true}); err != nil || !slices.Contains(*log, "a-1 n-edge version 5") {
		t.Errorf("after the next release: %v, done: %q", err, *log)
	}
}

// TestBackStops: what goes on is cancelled before, a command that was killed goes on, and the site
// itself must be whole.
func TestBackStops(t *testing.T) {
	edge := func(c *Cluster) RollOptions {
		return RollOptions{Sites: c.Outputs.Sites[:1], Roles: []string{"edge"}, Back: true}
	}
	c, sites, clouds, log := newBack(t, false)
	clouds["a-1"].last["n-edge"] = Refresh{ID: "bad", Status: "InProgress"}
	clouds["a-1"].during = func(string) {
		if len(*log) > 1 { // the bad one is over, and the next one has begun
			clouds["a-1"].during = nil
		}
	}
	if err := c.Roll(t.Context(), edge(c)); err != nil || clouds["a-1"].cancelled != "n-edge" || !slices.Equal(*log, []string{"a-1 n-edge version 5", "a-1 n-edge 34%"}) {
		t.Errorf("a replacement that goes on: %v, cancelled %q, done: %q", err, clouds["a-1"].cancelled, *log)
	}
	if has := sites["a-1"].other[beforeNote("n-edge")]; has != "lt-1 5" {
		t.Errorf("it is noted: %q", has)
	}
	for name, before := range map[string]struct {
		template Template
		note     string
		want     string
	}{
		"killed after the version":        {Template{ID: "lt-1", Version: 5, Nodes: map[int]int{6: 3}}, "lt-1 5", "a-1 n-edge 34%"},
		"killed after the note":           {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{6: 3}}, "lt-1 5", "a-1 n-edge version 5, a-1 n-edge 34%"},
		"the note is of another template": {Template{ID: "lt-2", Version: 6, Nodes: map[int]int{6: 3}}, "lt-1 5", ""},
		"nodes of another template":       {Template{ID: "lt-2", Version: 6, Nodes: map[int]int{0: 2, 6: 1}}, "", "a-1 n-edge 34%"},
		"never replaced":                  {Template{ID: "lt-1", Version: 1, Nodes: map[int]int{1: 3}}, "", ""},
	} {
		c, sites, clouds, log := newBack(t, false)
		clouds["a-1"].templates["n-edge"] = &before.template
		sites["a-1"].other = map[string]string{beforeNote("n-edge"): before.note}
		err := c.Roll(t.Context(), edge(c))
		if strings.Join(*log, ", ") != before.want || (err == nil) != (before.want != "") {
			t.Errorf("%s: %v, done: %q", name, err, *log)
		}
	}
	c, sites, _, log = newBack(t, false)
	sites["a-1"].servers[1].Healthy = false
	if err := c.Roll(t.Context(), edge(c)); err == nil || len(*log) > 0 {
		t.Errorf("a sick site: %v, done: %q", err, *log)
	}
}
