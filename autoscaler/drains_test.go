package autoscaler

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/sizing"
)

// nodeOf is a node as Nomad lists it, whose drain began some seconds after another one's.
func nodeOf(class, by string, drains bool, after int) string {
	eligible, status := "ineligible", "complete"
	if by == "" {
		eligible = "eligible"
	}
	if drains {
		status = "draining"
	}
	return fmt.Sprintf(`{"ID":"n","NodeClass":%q,"Status":"ready","SchedulingEligibility":%q,"Drain":%t,"LastDrain":{"StartedAt":"2026-03-02T10:00:%02dZ","UpdatedAt":"2026-03-02T10:01:00Z","Status":%q,"Meta":{"drained_by":%q}}}`,
		class, eligible, drains, after, status, by)
}

// Nodes that the target drains are in the group's count, and take no people: they count beside those that
// the pool needs, whether it grows or shrinks. Others that drain are no longer in the count.
func TestStrategyBesideDrains(t *testing.T) {
	ours := func(drains bool, after int) string { return nodeOf("stream-cpu", drainedBy, drains, after) }
	for _, c := range []struct {
		what         string
		nodes        string
		status       int
		later        time.Duration // than a minute after the drains were updated at last
		people       int
		count        int64
		want         int64
		wasNamed     bool
		withoutClass bool
	}{
		{what: "none drains", nodes: nodeOf("stream-cpu", "", false, 0), people: 9, count: 3, want: 3},
		{what: "one drains, and more people come", nodes: ours(true, 0), people: 12, count: 3, want: 4, wasNamed: true},
		{what: "one drains, and fewer are needed", nodes: ours(true, 0), people: 4, count: 5, want: 2, wasNamed: true},
		{what: "one drains, and the others are enough", nodes: ours(true, 0), people: 8, count: 3, want: 3, wasNamed: true},
		{what: "two drains began together, and one is complete: neither has ended", nodes: ours(true, 0) + "," + ours(false, 1), people: 8, count: 4, want: 4, wasNamed: true},
		{what: "one was complete before, and ends", nodes: ours(true, 0) + "," + ours(false, 40), people: 8, count: 3, want: 3, wasNamed: true},
		{what: "one is complete, and ends", nodes: ours(false, 0), people: 8, count: 2, want: 2},
		{what: "one is complete, and nobody ends it", nodes: ours(false, 0), later: time.Hour, people: 8, count: 2, want: 3, wasNamed: true},
		{what: "one drains for long", nodes: ours(true, 0), later: time.Hour, people: 8, count: 3, want: 3, wasNamed: true},
		{what: "another pool's", nodes: nodeOf("stream-gpu", drainedBy, true, 0), people: 8, count: 2, want: 2},
		{what: "an operator drains one", nodes: nodeOf("stream-cpu", "an operator", true, 0), people: 8, count: 2, want: 2},
		{what: "the policy names no class", nodes: ours(true, 0), people: 8, count: 2, want: 2, withoutClass: true},
		{what: "Nomad does not answer, and nodes are added", status: 500, people: 12, count: 2, want: 3},
		{what: "Nomad says something else, and nodes are added", nodes: "{", people: 12, count: 2, want: 3},
	} {
		nomad := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/nodes" || r.Header.Get("X-Nomad-Token") != "secret" {
				t.Errorf("%s: Nomad is asked for %s", c.what, r.URL)
			}
			if c.status != 0 {
				rw.WriteHeader(c.status)
			}
			fmt.Fprintf(rw, "[%s]", c.nodes)
		}))
		s := NewStrategy(hclog.NewNullLogger())
		now := time.Date(2026, 3, 2, 10, 2, 0, 0, time.UTC).Add(c.later)
		s.Now = func() time.Time { return now }
		if err := s.SetConfig(map[string]string{"nomad_address": nomad.URL, "nomad_token": "secret"}); err != nil {
			t.Fatal(err)
		}
		// Few who stay long: as many seats as people.
		config := map[string]string{"seats_per_node": "4", "hold": "0s", "wait": "99%", "ready": "0s", "node_class": "stream-cpu"}
		if c.withoutClass {
			delete(config, "node_class")
		}
		got, err := s.Run(check([]sizing.App{{Busy: c.people}}, config), c.count)
		direction := map[int]sdk.ScaleDirection{-1: sdk.ScaleDirectionDown, 0: sdk.ScaleDirectionNone, 1: sdk.ScaleDirectionUp}[cmp.Compare(c.want, c.count)]
		if err != nil || got.Action.Count != c.want || got.Action.Direction != direction || strings.Contains(got.Action.Reason, "nodes that drain") != c.wasNamed {
			t.Errorf("%s: %+v, %v; want %d", c.what, got, err, c.want)
		}
		s.Close()
		nomad.Close()
	}
}
