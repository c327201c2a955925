package brain_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// fakeNomad places every child at once.
type fakeNomad struct {
	site *site
	// placed is called for each new child, in a goroutine.
	placed  func(child brain.Child)
	placing sync.WaitGroup // the calls of placed

	mu         sync.Mutex
	jobs       brain.Jobs
	tokens     map[string]string
	dispatches []time.Time
	order      []string
	stopped    []string
	changed    chan struct{} // closed and replaced at each change
}

func (m *fakeNomad) change(fn func(jobs brain.Jobs)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(m.jobs)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *fakeNomad) Watch(ctx context.Context, fn func(brain.JobsChange)) {
	told := brain.Jobs{Apps: map[string]brain.App{}, Children: map[string]brain.Child{}}
	for all := true; ; all = false {
		m.mu.Lock()
		changed := m.changed
		change := brain.JobsChange{All: all, Apps: map[string]brain.App{}, Children: map[string]brain.Child{}}
		for id, app := range m.jobs.Apps {
			if before, ok := told.Apps[id]; !ok || !reflect.DeepEqual(before, app) {
				change.Apps[id] = app
			}
		}
		for id, child := range m.jobs.Children {
			if before, ok := told.Children[id]; !ok || before != child {
				change.Children[id] = child
			}
		}
		for id := range told.Apps {
			if _, ok := m.jobs.Apps[id]; !ok {
				change.GoneApps = append(change.GoneApps, id)
			}
		}
		for id := range told.Children {
			if _, ok := m.jobs.Children[id]; !ok {
				change.GoneChildren = append(change.GoneChildren, id)
			}
		}
		told = brain.Jobs{Apps: maps.Clone(m.jobs.Apps), Children: maps.Clone(m.jobs.Children)}
		m.mu.Unlock()
		fn(change)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func (m *fakeNomad) Dispatch(_ context.Context, app brain.App, token string) (string, error) {
	m.mu.Lock()
	if child, ok := m.tokens[token]; ok {
		m.mu.Unlock()
		return child, nil
	}
	n := len(m.order) + 1
	child := brain.Child{ID: fmt.Sprintf("%s/dispatch-v%d-%d", app.ID, app.Version, n), App: app.ID, Version: app.Version,
		Token: token, State: brain.ChildRunning, Alloc: fmt.Sprintf("alloc-%d", n), Node: consulNode, Created: time.Now()}
	m.tokens[token] = child.ID
	m.order = append(m.order, child.ID)
	m.dispatches = append(m.dispatches, time.Now())
	placed := m.placed
	m.mu.Unlock()
	m.change(func(jobs brain.Jobs) { jobs.Children[child.ID] = child })
	if placed != nil {
		m.placing.Go(func() { placed(child) })
	}
	return child.ID, nil
}

func (m *fakeNomad) Stop(_ context.Context, child string) error {
	m.mu.Lock()
	m.stopped = append(m.stopped, child)
	m.mu.Unlock()
	m.died(child, wire.End{Reason: wire.ReasonDrained})
	return nil
}

func (m *fakeNomad) died(child string, end wire.End) {
	m.change(func(jobs brain.Jobs) {
		c, ok := jobs.Children[child]
		if !ok {
			return
		}
		c.State, c.End = brain.ChildDead, &end
		jobs.Children[child] = c
	})
}

func (m *fakeNomad) Live(_ context.Context, app string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, id := range m.order {
		if c := m.jobs.Children[id]; c.App == app && c.State != brain.ChildDead {
			out = append(out, id)
		}
	}
	return out, nil
}

func (m *fakeNomad) dispatched() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.dispatches)
}
