package nomad

import (
	"maps"
	"reflect"
	"strings"
	"time"

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
	CreateTime    int64
	TaskStates    map[string]*task
}

// evaluation is what is read of an evaluation.
type evaluation struct {
	JobID          string
	FailedTGAllocs map[string]*api.AllocationMetric
}

// mirror is a copy of what lives in Nomad's tables, as far as it is about apps and
// seats. One goroutine uses it.
type mirror struct {
	client *Client
	apps   map[string]mirrored
	// children are those that were not told as dead, and those whose job is not dead
	// yet: Nomad may make another allocation for them.
	children map[string]*record
	// Jobs that were registered up to this index are known from a list.
	listed uint64
	last   uint64 // the index of the last event, 0 where there was none
	read   bool   // the tables were read once
	told   bool   // flush has given everything once
	missed bool   // events were lost, and the tables were not read since

	changedApps, changed, gone map[string]struct{} // since the last flush

	// While a list is being read: the events that came since, to be applied again to
	// what it says, and the children that were forgotten since, which it may show as
	// living.
	listing   bool
	retained  []event
	forgotten map[string]struct{}
}

// mirrored is an app, and the index of its job.
type mirrored struct {
	brain.App
	modified, registered uint64
}

func newMirror(c *Client) *mirror {
	return &mirror{client: c, apps: map[string]mirrored{}, children: map[string]*record{},
		changedApps: map[string]struct{}{}, changed: map[string]struct{}{}, gone: map[string]struct{}{}}
}

// apply takes events that were made at one index.
func (m *mirror) apply(events []event) {
	for _, e := range events {
		switch p := e.Payload; {
		case p.Job != nil:
			m.job(*p.Job, e)
		case p.Allocation != nil:
			m.alloc(*p.Allocation)
		case p.Evaluation != nil:
			m.evaluation(*p.Evaluation)
		}
	}
}

// job takes a job's event.
func (m *mirror) job(j job, e event) {
	// A job that is purged comes as it was before.
	purged := e.deregistered() && j.ModifyIndex != e.Index
	if j.ParentID != "" && j.Dispatched {
		m.childJob(j, e.Index, purged)
		return
	}
	before, was := m.apps[j.ID]
	if was && e.Index < before.modified || !was && e.Index <= m.listed {
		return
	}
	app, ok := m.client.app(j)
	switch {
	case purged || !ok:
		if was {
			delete(m.apps, j.ID)
			m.changedApps[j.ID] = struct{}{}
		}
	default:
		m.setApp(mirrored{app, j.ModifyIndex, j.JobModifyIndex})
	}
}

func (m *mirror) setApp(app mirrored) {
	before, was := m.apps[app.ID]
	m.apps[app.ID] = app
	if !was || !reflect.DeepEqual(before.App, app.App) {
		m.changedApps[app.ID] = struct{}{}
	}
}

func (m *mirror) childJob(j job, index uint64, purged bool) {
	r := m.children[j.ID]
	if r == nil {
		// Nomad evaluates a dead job again, when its node changes for example, and calls
		// it pending meanwhile. Only a registration begins a life.
		_, forgotten := m.forgotten[j.ID]
		if purged || j.Stop || j.Status == "dead" || j.JobModifyIndex != index || index <= m.listed || forgotten {
			return
		}
		if _, ours := m.apps[j.ParentID]; !ours && !m.client.ours(j) {
			return
		}
		r = newRecord(j.ID, j.ParentID, time.Unix(0, j.SubmitTime))
		m.children[j.ID] = r
	}
	if index < r.modified {
		return
	}
	if purged {
		m.forget(r)
		return
	}
	r.modified, r.stop, r.jobDead = index, j.Stop, j.Status == "dead"
	r.token, r.tokenKnown = j.DispatchIdempotencyToken, true
	m.changed[j.ID] = struct{}{}
}

// ours reports whether a child is a seat by its own driver, which counts also if its
// app is gone.
func (c *Client) ours(j job) bool {
	driver, _ := j.task()
	return driver == c.driver
}

// forget takes a child out of the mirror.
func (m *mirror) forget(r *record) {
	delete(m.children, r.id)
	delete(m.changed, r.id)
	if m.listing {
		m.forgotten[r.id] = struct{}{}
	}
	if r.told != nil && !r.ended() {
		m.gone[r.id] = struct{}{}
	}
}

// alloc takes an allocation, unless a newer one is known. One of a child that is not
// known comes late: Nomad makes none for a job that is dead.
func (m *mirror) alloc(a alloc) {
	r := m.children[a.JobID]
	if r == nil {
		return
	}
	if before := r.alloc; before != nil {
		if before.ID != a.ID && before.CreateIndex > a.CreateIndex || before.ID == a.ID && before.ModifyIndex > a.ModifyIndex {
			return
		}
	}
	r.alloc, r.blocked = &a, ""
	m.changed[a.JobID] = struct{}{}
}

// stopping makes a child of an allocation that outlives its job, because Nomad is
// stopping it. The list of jobs calls it dead.
func (m *mirror) stopping(a alloc) {
	app, _, ok := strings.Cut(a.JobID, api.JobDispatchLaunchSuffix)
	if _, known := m.apps[app]; !ok || !known || m.children[a.JobID] != nil {
		return
	}
	if _, forgotten := m.forgotten[a.JobID]; forgotten {
		return
	}
	r := newRecord(a.JobID, app, time.Unix(0, a.CreateTime))
	r.stop, r.jobDead = true, true
	m.children[a.JobID] = r
}

// evaluation takes why no node can take a child that is not placed yet.
func (m *mirror) evaluation(e evaluation) {
	r := m.children[e.JobID]
	if r == nil || r.alloc != nil || len(e.FailedTGAllocs) == 0 {
		return
	}
	for _, metric := range e.FailedTGAllocs {
		r.blocked, r.unfit = why(metric), unfit(metric)
	}
	m.changed[e.JobID] = struct{}{}
}

// token takes the token of a child whose id does not tell it.
func (m *mirror) token(id, token string) {
	if r := m.children[id]; r != nil && !r.tokenKnown {
		r.token, r.tokenKnown = token, true
		m.changed[id] = struct{}{}
	}
}

// merge takes what the tables say.
func (m *mirror) merge(t *tables) {
	for id, app := range t.apps {
		if app.modified >= m.apps[id].modified {
			m.setApp(app)
		}
	}
	for id, app := range m.apps {
		if _, ok := t.apps[id]; !ok && app.modified <= t.index {
			delete(m.apps, id)
			m.changedApps[id] = struct{}{}
		}
	}
	for _, j := range t.children {
		if _, forgotten := m.forgotten[j.ID]; forgotten {
			continue
		}
		r := m.children[j.ID]
		if r == nil {
			r = newRecord(j.ID, j.ParentID, time.Unix(0, j.SubmitTime))
			m.children[j.ID] = r
		}
		if j.ModifyIndex >= r.modified {
			r.modified, r.stop, r.jobDead = j.ModifyIndex, j.Stop, false
		}
		m.changed[j.ID] = struct{}{}
	}
	for _, a := range t.allocs {
		m.stopping(a)
		m.alloc(a)
	}
	for _, e := range t.blocked {
		m.evaluation(e)
	}
	listed := make(map[string]struct{}, len(t.children))
	for _, j := range t.children {
		listed[j.ID] = struct{}{}
	}
	for id, r := range m.children {
		if _, ok := listed[id]; !ok && r.ended() && r.modified <= t.index {
			m.forget(r) // its job is dead, and no event said so
		}
	}
	for id, last := range t.vanished {
		r := m.children[id]
		switch {
		case r == nil:
			continue
		case last == nil:
			m.forget(r)
			continue
		}
		m.alloc(*last)
		r.jobDead = true
		m.changed[id] = struct{}{}
	}
	m.read, m.missed = true, false
	m.listed = t.index
	if m.last == 0 {
		m.last = t.index
	}
	// What came meanwhile may have been about children that only the tables told of.
	for _, e := range m.retained {
		m.apply([]event{e})
	}
	m.listing, m.retained, m.forgotten = false, nil, nil
}

// flush is what changed since the last one, the first time everything. ok is false
// where nothing did. It forgets the dead children that it tells.
func (m *mirror) flush() (change brain.JobsChange, ok bool) {
	if !m.read {
		return change, false
	}
	change = brain.JobsChange{All: !m.told, Apps: map[string]brain.App{}, Children: map[string]brain.Child{}}
	for id := range m.changedApps {
		if app, ok := m.apps[id]; ok {
			change.Apps[id] = app.App
		} else {
			change.GoneApps = append(change.GoneApps, id)
		}
	}
	for id := range m.changed {
		r := m.children[id]
		c := r.child()
		if r.told == nil || !same(*r.told, c) && !(r.ended() && c.State == brain.ChildDead) {
			r.told = &c
			change.Children[id] = c
		}
		if r.ended() && r.jobDead {
			m.forget(r)
		}
	}
	for id := range m.gone {
		if m.children[id] == nil {
			change.GoneChildren = append(change.GoneChildren, id)
		}
	}
	clear(m.changedApps)
	clear(m.changed)
	clear(m.gone)
	m.told = true
	return change, change.All || len(change.Apps)+len(change.GoneApps)+len(change.Children)+len(change.GoneChildren) > 0
}

// known is what the mirror has.
func (m *mirror) known(gap bool) known {
	k := known{apps: maps.Clone(m.apps), children: make(map[string]bool, len(m.children)), last: m.last, gap: gap}
	for id, r := range m.children {
		k.children[id] = !r.ended()
	}
	return k
}

// withoutToken are the children whose token is not known.
func (m *mirror) withoutToken() (ids []string) {
	for id, r := range m.children {
		if !r.tokenKnown {
			ids = append(ids, id)
		}
	}
	return ids
}
