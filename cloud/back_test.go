package cloud

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// newBack is a cluster with a release at version 6 of the templates, whose nodes are of version 5. With
// fails, a-1 gets it, until an edge node does not come up.
func newBack(t *testing.T, fails bool) (*Cluster, map[string]*fakeSite, map[string]*fakeCloud, *[]string) {
	t.Helper()
	c, sites, clouds, log := newRoll(t)
	for name, f := range clouds {
		f.templates = map[string]*Template{}
		sites[name].other = map[string]string{}
		for _, group := range []string{"n-server", "n-edge", "n-stream-cpu"} {
			f.templates[group] = &Template{ID: "lt-1", Version: 6, Nodes: map[int]int{5: 3}}
			sites[name].other[beforeNote(group)] = "lt-1 5 4"
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
	// The next release finds the pool empty: what it was taken back to is what it had before.
	clouds["a-1"].templates["n-edge"] = &Template{ID: "lt-1", Version: 7, Nodes: map[int]int{}}
	edge := RollOptions{Sites: back.Sites, Roles: []string{"edge"}}
	sites["b-1"].servers[1].Healthy = true
	if err := c.Roll(t.Context(), edge); err != nil {
		t.Fatal(err)
	}
	edge.Back = true
	if err := c.Roll(t.Context(), edge); err != nil || !slices.Contains(*log, "a-1 n-edge version 5") {
		t.Errorf("after the next release: %v, done: %q", err, *log)
	}
}

// TestBackEarly: a roll that stops at its first group has noted for all groups of all sites what they had: each one
// launches the bad version.
func TestBackEarly(t *testing.T) {
	c, sites, clouds, log := newBack(t, false)
	sites["a-1"].other, sites["b-1"].other = nil, nil
	clouds["a-1"].fails["n-server"] = "an alarm went off"
	if err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites[:1], Roles: []string{"server"}}); err == nil {
		t.Fatal("a bad release comes up")
	}
	delete(clouds["a-1"].fails, "n-server")
	*log = nil
	if err := c.Roll(t.Context(), RollOptions{Back: true}); err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{"a-1 n-server", "a-1 n-edge", "b-1 n-server", "b-1 n-edge", "b-1 n-stream-cpu"} {
		if !slices.Contains(*log, group+" version 5") {
			t.Errorf("%s was not taken back: %q", group, *log)
		}
	}
}

// TestBefore: what roll notes before it replaces nodes is what they had, or that it is not known.
func TestBefore(t *testing.T) {
	for name, c := range map[string]struct {
		template Template
		note     string
		want     string
	}{
		"most nodes have it":                     {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{4: 1, 5: 9}}, "", "lt-1 6 5"},
		"an empty pool":                          {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{}}, "lt-1 5 4", "lt-1 6 5"},
		"an empty pool that was taken back":      {Template{ID: "lt-1", Version: 7, Nodes: map[int]int{}}, "lt-1 5 taken", "lt-1 7 5"},
		"an empty pool without a note":           {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{}}, "", "lt-1 6 0"},
		"replaced by something else":             {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{6: 3}}, "lt-1 5 4", "lt-1 6 5"},
		"replaced by something else, and before": {Template{ID: "lt-1", Version: 7, Nodes: map[int]int{7: 3}}, "lt-1 5 4", "lt-1 7 0"},
		"a second run":                           {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{4: 1, 6: 9}}, "lt-1 6 5", "lt-1 6 5"},
		"a new template":                         {Template{ID: "lt-2", Version: 1, Nodes: map[int]int{0: 3}}, "lt-1 5 4", "lt-2 1 0"},
		"a note of an earlier program":           {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{5: 3}}, "lt-1 4", "lt-1 6 5"},
	} {
		cluster, sites, clouds, _ := newBack(t, false)
		clouds["a-1"].templates["n-edge"] = &c.template
		sites["a-1"].other[beforeNote("n-edge")] = c.note
		// It goes on, and at its end no old node is left.
		clouds["a-1"].last["n-edge"] = Refresh{ID: "of replace_nodes", Status: "InProgress"}
		if err := cluster.Roll(t.Context(), RollOptions{Sites: cluster.Outputs.Sites[:1], Roles: []string{"edge"}}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if has := sites["a-1"].other[beforeNote("n-edge")]; has != c.want {
			t.Errorf("%s: it is noted: %q, want %q", name, has, c.want)
		}
	}
}

// TestBackVersion: the version that --back takes, after whatever was before it.
func TestBackVersion(t *testing.T) {
	for name, before := range map[string]struct {
		template Template
		note     string
		want     string // what is done
		says     string // the error
	}{
		"killed after the version":                           {Template{ID: "lt-1", Version: 5, Nodes: map[int]int{6: 3}}, "lt-1 6 5", "a-1 n-edge 34%", ""},
		"killed after the note":                              {Template{ID: "lt-1", Version: 5, Nodes: map[int]int{6: 3}}, "lt-1 5 taken", "a-1 n-edge 34%", ""},
		"all nodes are new":                                  {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{6: 3}}, "lt-1 6 5", "a-1 n-edge version 5, a-1 n-edge 34%", ""},
		"an empty pool that filled":                          {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{6: 1}}, "lt-1 6 5", "a-1 n-edge version 5, a-1 n-edge 34%", ""},
		"a forgotten node":                                   {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{4: 1, 6: 9}}, "lt-1 6 5", "a-1 n-edge version 5, a-1 n-edge 34%", ""},
		"not rolled yet":                                     {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{5: 3, 6: 1}}, "lt-1 5 4", "a-1 n-edge version 5, a-1 n-edge 34%", ""},
		"never rolled":                                       {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{5: 3}}, "", "", "stays at the version 6 of its template: no roll"},
		"the note is of another version":                     {Template{ID: "lt-1", Version: 7, Nodes: map[int]int{7: 3}}, "lt-1 5 4", "", "the last roll that is noted is of the version 5"},
		"it is not known":                                    {Template{ID: "lt-1", Version: 6, Nodes: map[int]int{6: 3}}, "lt-1 6 0", "", "the version before it is not known"},
		"the note is of another template":                    {Template{ID: "lt-2", Version: 6, Nodes: map[int]int{6: 3}}, "lt-1 6 5", "", "no roll of this launch template is noted"},
		"good nodes of the template that Terraform replaced": {Template{ID: "lt-2", Version: 1, Nodes: map[int]int{0: 3}}, "lt-2 1 0", "", "the version before it is not known"},
	} {
		c, sites, clouds, log := newBack(t, false)
		clouds["a-1"].templates["n-edge"] = &before.template
		sites["a-1"].other[beforeNote("n-edge")] = before.note
		err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites[:1], Roles: []string{"edge"}, Back: true})
		if strings.Join(*log, ", ") != before.want || (err == nil) != (before.says == "") || err != nil && !strings.Contains(err.Error(), before.says) {
			t.Errorf("%s: %v, done: %q", name, err, *log)
		}
	}
}

// TestBackTwice: a second run goes no further back, also where the first one ended between version and note.
func TestBackTwice(t *testing.T) {
	c, sites, clouds, log := newBack(t, false)
	clouds["a-1"].templates["n-edge"] = &Template{ID: "lt-1", Version: 6, Nodes: map[int]int{5: 3, 6: 1}}
	sites["a-1"].other[beforeNote("n-edge")], sites["a-1"].refuses = "lt-1 5 4", "lt-1 5 taken"
	back := RollOptions{Sites: c.Outputs.Sites[:1], Roles: []string{"edge"}, Back: true}
	if err := c.Roll(t.Context(), back); err == nil {
		t.Error("a note that is not written is no error")
	}
	sites["a-1"].refuses = ""
	if err := c.Roll(t.Context(), back); err != nil || clouds["a-1"].templates["n-edge"].Version != 5 {
		t.Errorf("%v, the group has %+v, done: %q", err, clouds["a-1"].templates["n-edge"], *log)
	}
}

// TestBackLeaves: a pool of which nothing is known stays, its servers stay with it, and the command fails. The
// others are taken back.
func TestBackLeaves(t *testing.T) {
	c, sites, clouds, log := newBack(t, false)
	for _, group := range []string{"n-server", "n-edge"} {
		sites["b-1"].other[beforeNote(group)] = "lt-1 6 5"
	}
	clouds["b-1"].templates["n-stream-cpu"].Nodes = map[int]int{4: 1, 6: 9}
	clouds["b-1"].last["n-stream-cpu"] = Refresh{ID: "bad", Status: "InProgress"}
	err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites[1:], Back: true})
	if want := []string{"b-1 n-edge version 5", "b-1 n-edge 34%"}; !slices.Equal(*log, want) || clouds["b-1"].cancelled != "n-stream-cpu" {
		t.Errorf("done: %q, cancelled %q", *log, clouds["b-1"].cancelled)
	}
	if err == nil || !strings.Contains(err.Error(), "b-1: n-stream-cpu stays at the version 6 of its template") ||
		!strings.Contains(err.Error(), "b-1: n-server stays at the version 6 of its template: servers must not be older than the nodes of n-stream-cpu") {
		t.Errorf("it says %v", err)
	}
}

// TestBackStops: what goes on in any group is cancelled before, and groups get their version also where the
// release broke servers. Nodes are replaced when these are whole.
func TestBackStops(t *testing.T) {
	c, sites, clouds, log := newBack(t, true)
	here := clouds["a-1"]
	here.last["n-edge"] = Refresh{ID: "bad", Status: "Cancelling"}
	here.during = func(group string) { // it ends when the other group has its version
		if slices.Contains(*log, "a-1 n-server version 5") {
			here.last["n-edge"], here.during = Refresh{ID: "bad", Status: "Cancelled"}, nil
		}
	}
	here.last["n-server"] = Refresh{ID: "bad too", Status: "InProgress"}
	sites["a-1"].servers[1].Healthy = false
	back := RollOptions{Sites: c.Outputs.Sites[:1], Back: true}
	err := c.Roll(t.Context(), back)
	if err == nil || !strings.Contains(err.Error(), "new nodes get the version of before, and nothing was replaced") {
		t.Errorf("a sick site: %v", err)
	}
	if want := []string{"a-1 n-server version 5", "a-1 n-edge version 5"}; !slices.Equal(*log, want) || here.cancelled != "n-server" {
		t.Errorf("done: %q, cancelled %q", *log, here.cancelled)
	}
	*log = nil
	sites["a-1"].servers[1].Healthy = true
	if err := c.Roll(t.Context(), back); err != nil || !slices.Equal(*log, []string{"a-1 n-edge 34%", "a-1 n-server 34%"}) {
		t.Errorf("when it is whole: %v, done: %q", err, *log)
	}
	// A replacement that does not end is waited for as long as a group may take.
	c, _, clouds, log = newBack(t, true)
	clouds["a-1"].last["n-edge"] = Refresh{ID: "bad", Status: "Cancelling"}
	back.Within = time.Second
	if err := c.Roll(t.Context(), back); err == nil || !strings.Contains(err.Error(), "a-1 n-edge. No node was replaced") {
		t.Errorf("a replacement that does not end: %v, done: %q", err, *log)
	}
}
