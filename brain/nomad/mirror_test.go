package nomad

import (
	"log/slog"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
)

// TestLateEvents checks what makes a child live again whose end was told: a newer
// allocation as long as Nomad may make one, and nothing else.
func TestLateEvents(t *testing.T) {
	c := &Client{log: slog.New(slog.DiscardHandler), driver: "raw_exec"}
	m := newMirror(c)
	m.merge(&tables{index: 1000, apps: map[string]mirrored{"bad": {App: brain.App{ID: "bad"}}}})
	m.flush()
	const child = "bad/dispatch-1-0123abcd"
	step := func(name string, index uint64, job *job, a *alloc, want brain.ChildState, told bool) {
		t.Helper()
		e := event{Type: "AllocationUpdated", Index: index}
		if e.Payload.Job = job; job != nil {
			job.ID, job.ParentID, job.Dispatched, job.ModifyIndex = child, "bad", true, index
		}
		if e.Payload.Allocation = a; a != nil {
			a.JobID, a.ModifyIndex = child, index
		}
		m.apply([]event{e})
		change, _ := m.flush()
		got, ok := change.Children[child]
		if ok != told || ok && got.State != want {
			t.Errorf("%s: told %v, %+v", name, ok, got)
		}
	}
	step("born", 1001, &job{Status: "pending", JobModifyIndex: 1001}, nil, brain.ChildPending, true)
	step("runs", 1002, nil, &alloc{ID: "a", CreateIndex: 1002, ClientStatus: "running"}, brain.ChildRunning, true)
	step("fails", 1003, nil, &alloc{ID: "a", CreateIndex: 1002, ClientStatus: "failed"}, brain.ChildDead, true)
	step("its job waits", 1004, &job{Status: "pending", JobModifyIndex: 1001}, nil, 0, false)
	step("its allocation again", 1005, nil, &alloc{ID: "a", CreateIndex: 1002, ClientStatus: "failed"}, 0, false)
	step("runs elsewhere", 1006, nil, &alloc{ID: "b", CreateIndex: 1006, ClientStatus: "running"}, brain.ChildRunning, true)
	step("fails again", 1007, nil, &alloc{ID: "b", CreateIndex: 1006, ClientStatus: "failed"}, brain.ChildDead, true)
	step("the first one, late", 1008, nil, &alloc{ID: "a", CreateIndex: 1002, ClientStatus: "running"}, 0, false)
	step("its job is dead", 1009, &job{Status: "dead", JobModifyIndex: 1001}, nil, 0, false)
	if len(m.children) != 0 {
		t.Errorf("the mirror has %d children", len(m.children))
	}
	step("evaluated again", 1010, &job{Status: "pending", JobModifyIndex: 1001}, nil, 0, false)
	step("stopped", 1011, &job{Status: "pending", Stop: true, JobModifyIndex: 1011}, nil, 0, false)
	step("its allocation, late", 1012, nil, &alloc{ID: "b", CreateIndex: 1006, ClientStatus: "running"}, 0, false)
	if len(m.children) != 0 {
		t.Errorf("the mirror has %d children", len(m.children))
	}
}

// TestIDTellsToken checks that a child's id says what Dispatch put into it.
func TestIDTellsToken(t *testing.T) {
	for _, token := range []string{"s-ab-cdef234", "s-eu-central-1-abcd/2", "pool/0b5c2b1e-1111-4222-8333-944455556666"} {
		version, got, told := parseID("my-app", "my-app/dispatch-"+prefix(12, token)+"-1763880000-5f0a1b2c")
		if version != 12 || got != token || !told {
			t.Errorf("%q was read as %q of version %d", token, got, version)
		}
	}
	for _, id := range []string{"my-app/dispatch-v3-1763880000-5f0a1b2c", "my-app/dispatch-1763880000-5f0a1b2c", "my-app/dispatch-" + prefix(3, "a b~c") + "-1763880000-5f0a1b2c"} {
		if _, got, told := parseID("my-app", id); told {
			t.Errorf("%s tells the token %q", id, got)
		}
	}
}

// A job that excludes all nodes is told from nodes that are full, and from none.
func TestUnfit(t *testing.T) {
	full := map[string]int{"memory": 1}
	for want, metrics := range map[bool][]api.AllocationMetric{
		true: {{NodesEvaluated: 2, NodesFiltered: 2, ConstraintFiltered: map[string]int{"missing devices": 2}}},
		false: {
			{},
			{NodesEvaluated: 1, NodesFiltered: 1, ConstraintFiltered: map[string]int{"missing drivers": 1}},
			{NodesEvaluated: 1, NodesExhausted: 1, DimensionExhausted: full},
			{NodesEvaluated: 2, NodesFiltered: 1, NodesExhausted: 1, DimensionExhausted: full, ConstraintFiltered: map[string]int{"${node.class}": 1}},
		},
	} {
		for _, m := range metrics {
			r := &record{id: "game/dispatch-1", app: "game"}
			mi := &mirror{children: map[string]*record{r.id: r}, changed: map[string]struct{}{}}
			mi.evaluation(evaluation{JobID: r.id, FailedTGAllocs: map[string]*api.AllocationMetric{"seat": &m}})
			if c := r.child(); c.State != brain.ChildBlocked || c.Unfit != want {
				t.Errorf("%+v: %+v", m, c)
			}
		}
	}
}
