package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// silence is how long the event stream may say nothing. Nomad sends a
	// heartbeat every ten seconds.
	silence = 35 * time.Second
	// resync is how often everything is read anew: what Nomad's garbage
	// collection removes makes no event.
	resync = 5 * time.Minute
)

// Watch implements brain.Nomad: it reads everything, then follows the event
// stream, and starts over when the stream breaks.
func (c *Client) Watch(ctx context.Context, fn func(brain.Jobs)) {
	for failures := 0; ctx.Err() == nil; {
		begin := time.Now()
		err := c.follow(ctx, fn)
		if ctx.Err() != nil {
			return
		}
		if err == nil || time.Since(begin) > time.Minute {
			failures = 0
		}
		if err == nil {
			continue // time to read everything anew
		}
		failures++
		if failures == 1 {
			c.log.Warn("watching nomad failed; retrying", "error", err)
		}
		wait := min(100*time.Millisecond<<min(failures, 8), 5*time.Second)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// alloc is what is read of an allocation, from a query or an event.
type alloc struct {
	ID            string
	JobID         string
	ClientStatus  string
	DesiredStatus string
	CreateIndex   uint64
	ModifyIndex   uint64
	TaskStates    map[string]*task
}

// evaluation is what is read of an evaluation.
type evaluation struct {
	JobID          string
	FailedTGAllocs map[string]*api.AllocationMetric
}

// mirror is Nomad's tables as far as they concern us.
type mirror struct {
	client   *Client
	apps     map[string]brain.App
	children map[string]job
	allocs   map[string]alloc  // by child: its newest
	blocked  map[string]string // by child: why no node takes it
	// Events at or below these indexes are in what was read at the start.
	jobsRead, allocsRead uint64
}

func (c *Client) follow(ctx context.Context, fn func(brain.Jobs)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// First the stream, then the tables: so nothing falls between.
	q := query(ctx)
	q.Params = map[string]string{"index": "0"}
	body, err := c.api.Raw().Response("/v1/event/stream?topic=Job&topic=Allocation&topic=Evaluation", q)
	if err != nil {
		return fmt.Errorf("open event stream: %w", err)
	}
	defer body.Close()
	m := &mirror{client: c, apps: map[string]brain.App{}, children: map[string]job{},
		allocs: map[string]alloc{}, blocked: map[string]string{}}
	if err := m.read(ctx); err != nil {
		return err
	}
	fn(m.jobs())

	quiet := time.AfterFunc(silence, func() { cancel(errors.New("the event stream fell silent")) })
	defer quiet.Stop()
	began := time.Now()
	for dec := json.NewDecoder(body); ; {
		var batch struct {
			Index  uint64
			Events []struct {
				Type    string
				Index   uint64
				Payload json.RawMessage
			}
		}
		if err := dec.Decode(&batch); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("read event stream: %w", err)
		}
		quiet.Reset(silence)
		changed := false
		for _, e := range batch.Events {
			var payload struct {
				Job        *job
				Allocation *alloc
				Evaluation *evaluation
			}
			if err := json.Unmarshal(e.Payload, &payload); err != nil {
				return fmt.Errorf("read a %s event: %w", e.Type, err)
			}
			switch {
			case payload.Job != nil && e.Index > m.jobsRead:
				changed = m.job(*payload.Job, strings.Contains(e.Type, "Deregistered")) || changed
			case payload.Allocation != nil && e.Index > m.allocsRead:
				changed = m.alloc(*payload.Allocation) || changed
			case payload.Evaluation != nil && e.Index > m.jobsRead:
				changed = m.evaluation(*payload.Evaluation) || changed
			}
		}
		if changed {
			fn(m.jobs())
		}
		if time.Since(began) > resync {
			return nil
		}
	}
}

// read fills the mirror from Nomad's tables.
func (m *mirror) read(ctx context.Context) error {
	stubs, meta, err := m.client.api.Jobs().List(query(ctx))
	if err != nil {
		return fmt.Errorf("list jobs: %w", err)
	}
	m.jobsRead = meta.LastIndex
	var allocs []alloc
	meta, err = m.client.api.Raw().Query("/v1/allocations", &allocs, query(ctx))
	if err != nil {
		return fmt.Errorf("list allocations: %w", err)
	}
	m.allocsRead = meta.LastIndex
	for _, stub := range stubs {
		if stub.Type != "batch" || !stub.ParameterizedJob && stub.ParentID == "" {
			continue
		}
		var j job
		if stub.ParentID != "" && stub.Status == "dead" {
			// Many, and no secret in any: the list says enough of the dead.
			j = job{ID: stub.ID, ParentID: stub.ParentID, Status: stub.Status, Stop: stub.Stop, Dispatched: true, SubmitTime: stub.SubmitTime}
		} else if _, err := m.client.api.Raw().Query("/v1/job/"+url.PathEscape(stub.ID), &j, query(ctx)); status(err) == 404 {
			continue
		} else if err != nil {
			return fmt.Errorf("read job %s: %w", stub.ID, err)
		}
		m.job(j, false)
	}
	for _, a := range allocs {
		m.alloc(a)
	}
	for id, j := range m.children {
		if _, placed := m.allocs[id]; placed || j.Status == "dead" {
			continue
		}
		var evals []evaluation
		if _, err := m.client.api.Raw().Query("/v1/job/"+url.PathEscape(id)+"/evaluations", &evals, query(ctx)); err != nil {
			return fmt.Errorf("read evaluations of %s: %w", id, err)
		}
		for _, e := range evals {
			m.evaluation(e)
		}
	}
	return nil
}

// job takes a job; removed is true where the event is of its end.
func (m *mirror) job(j job, removed bool) (changed bool) {
	if j.ParentID != "" && j.Dispatched {
		if _, ours := m.apps[j.ParentID]; !ours {
			if _, known := m.children[j.ID]; !known && !m.ours(j) {
				return false
			}
		}
		if removed && !j.Stop {
			delete(m.children, j.ID) // purged
			delete(m.allocs, j.ID)
			delete(m.blocked, j.ID)
			return true
		}
		j.TaskGroups, j.Meta = nil, nil // nothing of it is asked again
		m.children[j.ID] = j
		return true
	}
	before, was := m.apps[j.ID]
	app, ok := m.client.app(j)
	if removed || !ok {
		delete(m.apps, j.ID)
		return was
	}
	m.apps[j.ID] = app
	return app != before
}

// ours reports whether a child runs a seat, also where its app is gone by now.
// The list's short form of a dead child does not say; its parent does.
func (m *mirror) ours(j job) bool {
	return len(j.TaskGroups) > 0 && len(j.TaskGroups[0].Tasks) > 0 && j.TaskGroups[0].Tasks[0].Driver == m.client.driver
}

func (m *mirror) alloc(a alloc) bool {
	if !strings.Contains(a.JobID, api.JobDispatchLaunchSuffix) {
		return false
	}
	if before, ok := m.allocs[a.JobID]; ok {
		if before.ID != a.ID && before.CreateIndex > a.CreateIndex || before.ID == a.ID && before.ModifyIndex > a.ModifyIndex {
			return false
		}
	}
	m.allocs[a.JobID] = a
	delete(m.blocked, a.JobID)
	return true
}

func (m *mirror) evaluation(e evaluation) bool {
	if len(e.FailedTGAllocs) == 0 || !strings.Contains(e.JobID, api.JobDispatchLaunchSuffix) {
		return false
	}
	if _, placed := m.allocs[e.JobID]; placed {
		return false
	}
	for _, metric := range e.FailedTGAllocs {
		m.blocked[e.JobID] = why(metric)
	}
	return true
}

// why says in words why no node takes a seat.
func why(m *api.AllocationMetric) string {
	if m.NodesEvaluated == 0 {
		return "no node is ready that may run this job"
	}
	parts := []string{fmt.Sprintf("none of %d nodes can take the seat", m.NodesEvaluated)}
	add := func(counts map[string]int, form string) {
		keys := make([]string, 0, len(counts))
		for k := range counts {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			parts = append(parts, fmt.Sprintf(form, k, counts[k]))
		}
	}
	add(m.ConstraintFiltered, "constraint %q rules out %d")
	add(m.DimensionExhausted, "%s is used up on %d")
	return strings.Join(parts, "; ")
}

// jobs is the mirror in the brain's words. The brain may keep it.
func (m *mirror) jobs() brain.Jobs {
	out := brain.Jobs{Apps: maps.Clone(m.apps), Children: make(map[string]brain.Child, len(m.children))}
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

func (m *mirror) place(c *brain.Child, a alloc, j job) {
	c.Alloc = a.ID
	switch a.ClientStatus {
	case "pending":
		c.State = brain.ChildPending
	case "complete", "failed", "lost":
		c.State = brain.ChildDead
	default: // running; unknown, which is a node out of sight, may come back
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
		c.End = &wire.End{Reason: wire.ReasonDrained} // somebody stopped it
	case c.End == nil && a.DesiredStatus == "stop":
		c.End = &wire.End{Reason: wire.ReasonDrained}
	}
}
