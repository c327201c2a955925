package brain

import (
	"maps"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Idle is how many seats of an app this brain could offer now.
func (b *Broker) Idle(app string) int {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	if a := b.state.view.apps[app]; a != nil {
		return len(a.free)
	}
	return 0
}

// Aged has the brain be one that is not told of nodes by anybody: see notTold.
func (b *Broker) Aged() {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	b.state.started = b.state.started.Add(-time.Hour)
}

// Jobs is all that a Nomad in memory has.
type Jobs struct {
	Apps     map[string]App
	Children map[string]Child
}

// seatsChanged tells of all seats of a site, by their nodes.
func (st *state) seatsChanged(seats []wire.Seat) {
	nodes := map[string]map[string]wire.Seat{"": {}}
	st.mu.Lock()
	for name := range st.view.nodes {
		nodes[name] = map[string]wire.Seat{}
	}
	st.mu.Unlock()
	for _, s := range seats {
		if nodes[s.Node] == nil {
			nodes[s.Node] = map[string]wire.Seat{}
		}
		nodes[s.Node][s.ID] = s
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		st.nodeSaid(node{name, name}, true, nodes[name], nil)
	}
	st.seatsAreKnown()
}

// FirstFree is the seat of an app that this brain would offer first.
func (b *Broker) FirstFree(app string) string {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	if a := b.state.view.apps[app]; a != nil && len(a.free) > 0 {
		return a.free[0].child.Alloc
	}
	return ""
}

// Later has the seats that nobody needs have been so for longer.
func (b *Broker) Later(d time.Duration) {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	for _, u := range b.state.view.units {
		if !u.unwanted.IsZero() {
			u.unwanted = u.unwanted.Add(-d)
		}
	}
}
