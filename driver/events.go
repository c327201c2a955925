package driver

import (
	"context"
	"sync"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// events queues task events until the agent fetches them. An agent that was away
// gets them later. Each event is delivered once.
type events struct {
	mu     sync.Mutex
	queue  []queued
	change chan struct{} // closed, and replaced, when the queue grows
}

type queued struct {
	event *drivers.TaskEvent
	// delivered is called after the agent has received the event.
	delivered func()
}

// maxQueued limits the queue for an agent that never comes back. Nomad itself
// keeps ten events of a task.
const maxQueued = 1000

func newEvents() *events { return &events{change: make(chan struct{})} }

func (e *events) emit(event *drivers.TaskEvent, delivered func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == maxQueued {
		e.queue = e.queue[1:]
	}
	e.queue = append(e.queue, queued{event, delivered})
	close(e.change)
	e.change = make(chan struct{})
}

// next waits for the oldest event and takes it. ok is false when ctx has ended.
func (e *events) next(ctx context.Context) (q queued, ok bool) {
	for {
		e.mu.Lock()
		if ctx.Err() == nil && len(e.queue) > 0 {
			q, e.queue = e.queue[0], e.queue[1:]
			e.mu.Unlock()
			return q, true
		}
		change := e.change
		e.mu.Unlock()
		select {
		case <-ctx.Done():
			return queued{}, false
		case <-change:
		}
	}
}

// back returns an event that could not be delivered to the head of the queue.
func (e *events) back(q queued) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append([]queued{q}, e.queue...)
	close(e.change)
	e.change = make(chan struct{})
}

// follow sends events until ctx ends, and then closes the channel, for which the
// server of the plugin SDK waits.
func (e *events) follow(ctx context.Context) <-chan *drivers.TaskEvent {
	out := make(chan *drivers.TaskEvent)
	go func() {
		defer close(out)
		for {
			q, ok := e.next(ctx)
			if !ok {
				return
			}
			select {
			case out <- q.event:
				q.delivered()
			case <-ctx.Done():
				e.back(q)
				return
			}
		}
	}()
	return out
}
