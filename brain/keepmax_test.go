package brain

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"
)

// orderedNomad has children in the order in which they were dispatched. It tells of
// them when the test says so.
type orderedNomad struct {
	mu       sync.Mutex
	children []Child
	asked    int // Live calls
}

func (*orderedNomad) Watch(context.Context, func(JobsChange)) {}

func (n *orderedNomad) Dispatch(_ context.Context, app App, token string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id := fmt.Sprintf("%s/dispatch-v1-%04d", app.ID, len(n.children))
	n.children = append(n.children, Child{ID: id, App: app.ID, Version: 1, Token: token, State: ChildRunning})
	return id, nil
}

func (n *orderedNomad) Stop(_ context.Context, child string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.children = slices.DeleteFunc(n.children, func(c Child) bool { return c.ID == child })
	return nil
}

func (n *orderedNomad) Live(context.Context, string) (ids []string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	for _, c := range n.children {
		ids = append(ids, c.ID)
	}
	return ids, nil
}

// TestMaxWithoutLists checks that children are listed near max alone, and that replicas
// which did not hear of each other do not end beyond it, however many they dispatched.
func TestMaxWithoutLists(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	nomad := &orderedNomad{}
	app := App{ID: game, Version: 1, Max: 40}
	var replicas []*planner
	for range 3 {
		st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now })
		st.jobsChanged(JobsChange{All: true, Apps: map[string]App{game: app}})
		replicas = append(replicas, &planner{state: st, nomad: nomad, log: slog.New(slog.DiscardHandler)})
	}
	dispatch := func(p *planner, token string) {
		p.state.mu.Lock()
		p.state.view.expect(token, game, now)
		p.state.mu.Unlock()
		p.dispatch(t.Context(), order{app: app, token: token})
	}
	const each = 40 - nearMax - 1
	for i := range each {
		for r, p := range replicas {
			dispatch(p, fmt.Sprintf("s-%d-%d", r, i))
		}
	}
	for _, p := range replicas {
		p.checkLate()
		p.checks.Wait()
	}
	if nomad.asked != 0 || len(nomad.children) != 3*each {
		t.Fatalf("%d lists far from max; %d children", nomad.asked, len(nomad.children))
	}
	// Nomad tells of the children that there are.
	tell := func() {
		change := JobsChange{Children: map[string]Child{}}
		for _, c := range nomad.children {
			change.Children[c.ID] = c
		}
		for _, p := range replicas {
			p.state.jobsChanged(change)
		}
	}
	tell()
	for _, p := range replicas {
		p.checkLate()
		p.checks.Wait()
	}
	if len(nomad.children) != app.Max || nomad.children[app.Max-1].ID != fmt.Sprintf("%s/dispatch-v1-%04d", game, app.Max-1) {
		t.Errorf("%d children live, max is %d", len(nomad.children), app.Max)
	}
	for _, p := range replicas {
		if n := len(p.late.children); n != 0 {
			t.Errorf("%d children are looked at still", n)
		}
	}

	// Near max each dispatch asks at once.
	asked := nomad.asked
	dispatch(replicas[0], "one-more")
	replicas[0].checks.Wait()
	if nomad.asked != asked+1 || len(nomad.children) != app.Max {
		t.Errorf("%d lists near max; %d children", nomad.asked-asked, len(nomad.children))
	}

	// Far from max, what Nomad has told of is forgotten after a while, and what it does
	// not tell of is asked for.
	app.Max = 1000
	replicas[1].state.jobsChanged(JobsChange{All: true, Apps: map[string]App{game: app}})
	asked = nomad.asked
	dispatch(replicas[1], "told")
	tell()
	dispatch(replicas[1], "never told")
	replicas[1].checkLate()
	now = now.Add(settledAfter)
	replicas[1].checkLate()
	replicas[1].checks.Wait()
	if nomad.asked != asked || len(replicas[1].late.children) != 1 {
		t.Errorf("%d lists, %d children are looked at", nomad.asked-asked, len(replicas[1].late.children))
	}
	now = now.Add(eventsWithin + time.Second)
	replicas[1].checkLate()
	replicas[1].checks.Wait()
	if nomad.asked != asked+1 || len(replicas[1].late.children) != 0 {
		t.Errorf("%d lists, %d children are looked at", nomad.asked-asked, len(replicas[1].late.children))
	}
}
