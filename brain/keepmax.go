package brain

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Two replicas may dispatch the last seat below max at once. Nomad's order of creation
// decides which seats stay: who dispatched one beyond max stops it. To ask Nomad for the
// order after each dispatch would be a list of all children each time. It is needed only
// near max, where nearMax is how many children may be on their way that this replica has
// not heard of: eight orders at once of each of two others.
//
// Far from max that is a guess. But Nomad tells of children in the order in which it made
// them. So a child that it has told of is within max if no more than max are known then,
// and all that is left to do is to look again at that moment.
const (
	nearMax = 16
	// settledAfter is how long a child is looked at from when Nomad told of it: the pages
	// of a list, which is read after events were lost, are not of one moment.
	settledAfter = 2 * time.Second
)

// lateChecks are this replica's children that were dispatched far from max.
type lateChecks struct {
	mu       sync.Mutex
	children map[string]lateCheck
}

type lateCheck struct {
	app  App
	at   time.Time // when it was dispatched
	told time.Time // when Nomad had told of it first
}

// checkMax stops a new seat that is beyond max, now or as soon as that can be known.
func (p *planner) checkMax(app App, child string) {
	if p.state.livingAndPending(app.ID)+nearMax >= app.Max {
		p.checks.Go(func() { p.keepMax(app, child) })
		return
	}
	p.late.mu.Lock()
	defer p.late.mu.Unlock()
	if p.late.children == nil {
		p.late.children = map[string]lateCheck{}
	}
	p.late.children[child] = lateCheck{app: app, at: p.state.now()}
}

// checkLate looks again at children that were dispatched far from max.
func (p *planner) checkLate() {
	p.late.mu.Lock()
	defer p.late.mu.Unlock()
	if len(p.late.children) == 0 {
		return
	}
	living, told := p.state.livingNow(p.late.children)
	now := p.state.now()
	for id, c := range p.late.children {
		if told[id] && c.told.IsZero() {
			c.told = now
			p.late.children[id] = c
		}
		switch {
		case living[c.app.ID] > c.app.Max, c.told.IsZero() && now.Sub(c.at) > eventsWithin:
			p.checks.Go(func() { p.keepMax(c.app, id) })
		case c.told.IsZero() || now.Sub(c.told) < settledAfter:
			continue
		}
		delete(p.late.children, id)
	}
}

// keepMax stops a new seat that is beyond the app's max in Nomad's order.
func (p *planner) keepMax(app App, child string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	live, err := p.nomad.Live(ctx, app.ID)
	if err != nil {
		p.log.Warn("cannot list the children of an app", "app", app.ID, "error", err)
		return
	}
	if tooMany(live, child, app.Max) {
		p.log.Info("stopping a seat beyond max", "app", app.ID, "child", child, "max", app.Max)
		p.stop(child)
	}
}

// tooMany reports whether a child is beyond max in Nomad's order.
func tooMany(live []string, child string, limit int) bool {
	return slices.Index(live, child) >= limit
}

// livingAndPending is how many children of an app live, with this replica's dispatches
// that Nomad has not told of.
func (st *state) livingAndPending(app string) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	a := st.view.apps[app]
	if a == nil {
		return 0
	}
	n := len(a.units)
	for _, c := range a.coming {
		if c.unit == nil {
			n++
		}
	}
	return n
}

// livingNow is how many children live, by app, as Nomad told, and of which of the asked
// children it has told.
func (st *state) livingNow(asked map[string]lateCheck) (living map[string]int, told map[string]bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	living, told = map[string]int{}, map[string]bool{}
	for id, c := range asked {
		if a := st.view.apps[c.app.ID]; a != nil {
			living[c.app.ID] = len(a.units)
		}
		told[id] = st.view.units[id] != nil || st.view.ended.byChild[id] != nil
	}
	return living, told
}
