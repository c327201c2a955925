package nomad

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// dispatched is what a child's id says beyond its app: the prefix that Dispatch gives,
// then Nomad's time and random part. Earlier releases gave no token.
var dispatched = regexp.MustCompile(`^v(\d+)(?:-(.+))?-\d+-[0-9a-f]{8}$`)

// plain is a token that can stand in an id and be read back.
var plain = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,100}$`)

// prefix is the id prefix of a dispatch.
func prefix(version uint64, token string) string {
	out := "v" + strconv.FormatUint(version, 10)
	if plain.MatchString(token) {
		out += "-" + strings.ReplaceAll(token, "/", "~")
	}
	return out
}

// parseID reads what prefix wrote. told is false where the id does not tell the token.
func parseID(app, id string) (version uint64, token string, told bool) {
	rest, ok := strings.CutPrefix(id, app+api.JobDispatchLaunchSuffix)
	m := dispatched.FindStringSubmatch(rest)
	if !ok || m == nil {
		return 0, "", false
	}
	version, _ = strconv.ParseUint(m[1], 10, 64)
	return version, strings.ReplaceAll(m[2], "~", "/"), m[2] != ""
}

// record is a child as the mirror has it.
type record struct {
	id, app    string
	version    uint64
	token      string
	tokenKnown bool
	created    time.Time
	stop       bool         // Nomad is to stop it
	jobDead    bool         // no allocation will follow
	modified   uint64       // the job's index
	alloc      *alloc       // the newest one; nil while there is none
	blocked    string       // why no node can take it
	unfit      bool         // see brain.Child
	told       *brain.Child // what was told of it last
}

func newRecord(id, app string, created time.Time) *record {
	r := &record{id: id, app: app, created: created}
	r.version, r.token, r.tokenKnown = parseID(app, id)
	return r
}

// ended reports whether the child's end was told.
func (r *record) ended() bool {
	return r.told != nil && r.told.State == brain.ChildDead && !r.told.Restarting
}

// child is the child as Nomad has it now.
func (r *record) child() brain.Child {
	c := brain.Child{ID: r.id, App: r.app, Version: r.version, Token: r.token, Created: r.created}
	switch {
	case r.alloc != nil:
		place(&c, *r.alloc, r.stop)
	case r.stop || r.jobDead:
		c.State = brain.ChildDead
		c.End = &wire.End{Reason: wire.ReasonDrained}
	case r.blocked != "":
		c.State, c.Why, c.Unfit = brain.ChildBlocked, r.blocked, r.unfit
	}
	return c
}

// same reports whether two children say the same.
func same(a, b brain.Child) bool {
	if (a.End == nil) != (b.End == nil) || a.End != nil && *a.End != *b.End {
		return false
	}
	a.End, b.End = nil, nil
	return a == b
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

// unfit reports whether no node is merely full, or waits for its driver, which a node that has just started does.
func unfit(m *api.AllocationMetric) bool {
	return m.ConstraintFiltered["missing drivers"] == 0 && m.NodesFiltered > 0 && m.NodesExhausted == 0 && len(m.DimensionExhausted) == 0 && len(m.QuotaExhausted) == 0
}

// place adds to a child what its allocation says. stop is true where Nomad is to stop
// the child.
func place(c *brain.Child, a alloc, stop bool) {
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
			c.State, c.Restarting = brain.ChildDead, !stop
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
