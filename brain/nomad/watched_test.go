package nomad

import (
	"context"
	"maps"
	"sync"

	"github.com/nearcast/nearcast/brain"
)

// watched is what a Watch has told.
type watched struct {
	*watch
	stop func() // ends the watch, and waits

	mu     sync.Mutex
	jobs   jobsSeen
	calls  int
	all    int            // calls with All
	deaths map[string]int // how often each child was told as dead
	gone   map[string]int // how often each child was told as gone
}

func watching(ctx context.Context, c *Client) *watched {
	w := &watched{jobs: jobsSeen{Apps: map[string]brain.App{}, Children: map[string]brain.Child{}}, deaths: map[string]int{}, gone: map[string]int{}}
	w.watch = newWatch(c, w.change)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	w.stop = func() { cancel(); <-ended }
	return w
}

func (w *watched) change(c brain.JobsChange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	if c.All {
		w.all++
		clear(w.jobs.Apps)
		clear(w.jobs.Children)
	}
	maps.Copy(w.jobs.Apps, c.Apps)
	for id, child := range c.Children {
		w.jobs.Children[id] = child
		if child.State == brain.ChildDead {
			w.deaths[id]++
		}
	}
	for _, id := range c.GoneApps {
		delete(w.jobs.Apps, id)
	}
	for _, id := range c.GoneChildren {
		delete(w.jobs.Children, id)
		w.gone[id]++
	}
}

// see is what is known now. The end of each child is kept.
func (w *watched) see() jobsSeen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return jobsSeen{Apps: maps.Clone(w.jobs.Apps), Children: maps.Clone(w.jobs.Children)}
}

func (w *watched) changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// jobsSeen is all that a watch has told so far.
type jobsSeen struct {
	Apps     map[string]brain.App
	Children map[string]brain.Child
}
