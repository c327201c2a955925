package content

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// errStalled cancels a fetch that received no byte for too long.
var errStalled = errors.New("no byte arrived")

// watchdog cancels a fetch that waits for the store and receives no byte for its
// patience. It keeps the last fault, which explains more than "timeout".
type watchdog struct {
	patience time.Duration
	cancel   context.CancelCauseFunc
	fault    atomic.Pointer[error]

	mu    sync.Mutex
	timer *time.Timer
	// waits is how many downloads wait for the store. Without any, the fetch waits for
	// another seat or for the disk, and the store owes it nothing.
	waits int
}

func newWatchdog(ctx context.Context, patience time.Duration) (context.Context, *watchdog) {
	w := &watchdog{patience: patience}
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(patience, func() { w.cancel(errStalled) })
	w.timer.Stop()
	return ctx, w
}

// begin says that a download waits for the store, end that it does not any more.
func (w *watchdog) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits++; w.waits == 1 {
		w.timer.Reset(w.patience)
	}
}

func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits--; w.waits == 0 {
		w.timer.Stop()
	}
}

// reset says that bytes arrived.
func (w *watchdog) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits > 0 {
		w.timer.Reset(w.patience)
	}
}

func (w *watchdog) note(err error) { w.fault.Store(&err) }

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.waits = 0
	w.cancel(nil)
}

// last is the last fault, or that the store sent nothing.
func (w *watchdog) last() error {
	if p := w.fault.Load(); p != nil {
		return *p
	}
	return fmt.Errorf("it sent no byte for %v", w.patience)
}
