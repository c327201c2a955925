package driver

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashicorp/nomad/plugins/drivers"
	"go.uber.org/goleak"
)

// The agent goes away and comes back. Each event is delivered once, in order.
func TestEventsSurviveTheirReader(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	e := newEvents()
	delivered := make(chan int, 10)
	for i := range 4 {
		e.emit(&drivers.TaskEvent{Message: fmt.Sprint(i)}, func() { delivered <- i })
	}
	var got string
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ch := e.follow(ctx)
		got += (<-ch).Message
		got += (<-ch).Message
		<-delivered
		<-delivered
		cancel()
		for range ch { // closed, as the SDK's server needs it
			t.Error("an event after the end")
		}
	}
	if got != "0123" {
		t.Errorf("got %s", got)
	}
	// The queue is limited.
	for i := range 2 * maxQueued {
		e.emit(&drivers.TaskEvent{Message: fmt.Sprint(i)}, func() {})
	}
	if len(e.queue) != maxQueued || e.queue[maxQueued-1].event.Message != fmt.Sprint(2*maxQueued-1) {
		t.Errorf("%d are queued", len(e.queue))
	}
}
