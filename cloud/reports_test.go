package cloud

import (
	"strings"
	"testing"
)

// TestRollOldNodeDies: nodes that are replaced may die meanwhile, and be gone when their report is read. That cancels
// nothing; the end of a new one does.
func TestRollOldNodeDies(t *testing.T) {
	for name, want := range map[string]string{"old": "", "new": "the node i-new was given up: i-new of n-edge in b-1", "unknown": "the node i-unknown was given up"} {
		c, sites, clouds, _ := newBack(t, false)
		here := clouds["b-1"]
		here.templates["n-edge"] = &Template{ID: "lt-1", Version: 6, Nodes: map[int]int{6: 2}, Of: map[string]int{"i-old": 6, "i-2": 6}}
		sites["b-1"].other[beforeNote("n-edge")] = "lt-1 6 5"
		looks := 0
		here.during = func(string) {
			switch looks++; looks {
			case 2:
				here.templates["n-edge"].Of = map[string]int{"i-new": 5, "i-2": 6}
				here.reasons["n-edge"] = []Reason{{Instance: "i-" + name, Text: "i-" + name + " of n-edge in b-1 Nomad: connection refused"}}
			case 5:
				here.during = nil
			}
		}
		err := c.Roll(t.Context(), RollOptions{Sites: c.Outputs.Sites[1:], Roles: []string{"edge"}, Back: true})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || (here.cancelled != "") != (want != "") {
			t.Errorf("%s: %v, cancelled %q", name, err, here.cancelled)
		}
	}
}
