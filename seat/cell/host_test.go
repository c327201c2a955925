package cell

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// A fetch is given up while its cancel cannot be sent yet. No other request may be made
// before: the cancel would come after it, and the keeper takes what comes first to end the
// fetch.
func TestCancelComesBeforeTheNextRequest(t *testing.T) {
	ours, theirs := pair(t)
	k := NewKeeper(ours)
	ctx, cancel := context.WithCancel(testkit.Context(t, time.Minute))
	defer cancel()
	receive := func(want string) {
		t.Helper()
		var r Request
		files, err := theirs.Receive(&r)
		closeAll(files)
		if err != nil || r.Op != want {
			t.Fatalf("the keeper is asked %q (%v), want %q", r.Op, err, want)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := k.Content(ctx, func(int64, int64, string) {})
		ended <- err
	}()
	receive(RequestContent)

	k.conn.write.Lock()
	cancel()
	next := make(chan struct{})
	go func() {
		k.requests.Lock() // as another request does
		defer k.requests.Unlock()
		close(next)
	}()
	select {
	case <-next:
		t.Error("another request can be made before the cancel")
	case <-time.After(100 * time.Millisecond):
	}
	k.conn.write.Unlock()
	receive(RequestCancel)
	<-next
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the fetch ended with %v", err)
	}
}
