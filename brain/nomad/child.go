package nomad

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// child reads a dispatched job.
func child(j job) brain.Child {
	c := brain.Child{ID: j.ID, App: j.ParentID, Token: j.DispatchIdempotencyToken, Created: time.Unix(0, j.SubmitTime)}
	if rest, ok := strings.CutPrefix(j.ID, j.ParentID+api.JobDispatchLaunchSuffix+"v"); ok {
		digits, _, _ := strings.Cut(rest, "-")
		c.Version, _ = strconv.ParseUint(digits, 10, 64)
	}
	return c
}

// why says in words why no node can take a seat.
func why(m *api.AllocationMetric) string {
	if m.NodesEvaluated == 0 {
		return "no node that may run this job is ready"
	}
	parts := []string{fmt.Sprintf("none of %d nodes can take the seat", m.NodesEvaluated)}
	add := func(counts map[string]int, form string) {
		for _, k := range slices.Sorted(maps.Keys(counts)) {
			parts = append(parts, fmt.Sprintf(form, k, counts[k]))
		}
	}
	add(m.ConstraintFiltered, "constraint %q excludes %d")
	add(m.DimensionExhausted, "%s is exhausted on %d")
	return strings.Join(parts, "; ")
}

// jobs is the mirror as the brain reads it. The brain may keep it.
func (m *mirror) jobs() brain.JobsChange {
	out := brain.JobsChange{All: true, Apps: maps.Clone(m.apps), Children: make(map[string]brain.Child, len(m.children))}
	for id, j := range m.children {
		c := child(j)
		a, placed := m.allocs[id]
		switch {
		case placed:
			m.place(&c, a, j)
		case j.Stop || j.Status == "dead":
			c.State = brain.ChildDead
			c.End = &wire.End{Reason: wire.ReasonDrained}
		case m.blocked[id] != "":
			c.State, c.Why = brain.ChildBlocked, m.blocked[id]
		}
		out.Children[id] = c
	}
	return out
}

// place adds to a child what its allocation says.
func (m *mirror) place(c *brain.Child, a alloc, j job) {
	c.Alloc, c.Node = a.ID, a.NodeName
	switch a.ClientStatus {
	case "pending":
		c.State = brain.ChildPending
	case "complete", "failed", "lost":
		c.State = brain.ChildDead
	default: // running, or unknown: its node is disconnected and may come back
		c.State = brain.ChildRunning
	}
	for _, t := range a.TaskStates {
		if t == nil {
			continue
		}
		last := ""
		if n := len(t.Events); n > 0 {
			last = t.Events[n-1].Type
		}
		if c.State != brain.ChildDead && (t.Restarts > 0 || last == "Restarting") {
			c.State, c.Restarting = brain.ChildDead, !j.Stop
		}
		if c.State == brain.ChildDead && c.End == nil {
			c.End = end(*t)
		}
	}
	if c.State != brain.ChildDead {
		return
	}
	switch {
	case a.ClientStatus == "lost":
		c.End = &wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the node was lost"}
	case c.End != nil && c.End.Reason == wire.ReasonAppExited && a.DesiredStatus == "stop":
		c.End = &wire.End{Reason: wire.ReasonDrained} // it was stopped
	case c.End == nil && a.DesiredStatus == "stop":
		c.End = &wire.End{Reason: wire.ReasonDrained}
	}
}
