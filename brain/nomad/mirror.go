package nomad

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
)

// alloc is what is read of an allocation, from a query or an event.
type alloc struct {
	ID            string
	JobID         string
	NodeName      string
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

// mirror is a copy of Nomad's tables, as far as they are about apps and seats.
type mirror struct {
	client   *Client
	apps     map[string]brain.App
	children map[string]job
	allocs   map[string]alloc  // by child: its newest allocation
	blocked  map[string]string // by child: why no node can take it
	// Events up to these indexes are contained in what was read at the start.
	jobsRead, allocsRead uint64
}

func newMirror(c *Client) *mirror {
	return &mirror{client: c, apps: map[string]brain.App{}, children: map[string]job{},
		allocs: map[string]alloc{}, blocked: map[string]string{}}
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
			// There are many dead children, and the list says enough about them.
			j = job{ID: stub.ID, ParentID: stub.ParentID, Status: stub.Status, Stop: stub.Stop, Dispatched: true, SubmitTime: stub.SubmitTime}
		} else if _, err := m.client.api.Raw().Query("/v1/job/"+url.PathEscape(stub.ID), &j, query(ctx)); status(err) == http.StatusNotFound {
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

// job takes a job. removed is true where the event says that it was deregistered.
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
		j.TaskGroups, j.Meta = nil, nil // not needed any more
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
	return !reflect.DeepEqual(app, before)
}

// ours reports whether a child is a seat by its own driver, which counts also if
// its app is gone. The list entry of a dead child has no driver.
func (m *mirror) ours(j job) bool {
	return len(j.TaskGroups) > 0 && len(j.TaskGroups[0].Tasks) > 0 && j.TaskGroups[0].Tasks[0].Driver == m.client.driver
}

// alloc takes an allocation, unless a newer one is known.
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

// evaluation takes why no node can take a child that is not placed yet.
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
