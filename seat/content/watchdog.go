package content

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// errStalled cancels a download that received no byte for too long.
var errStalled = errors.New("no byte arrived")

// watchdog cancels a download that receives no byte for its patience. It keeps the
// last fault, which explains more than "timeout".
type watchdog struct {
	patience time.Duration
	timer    *time.Timer
	cancel   context.CancelCauseFunc
	fault    atomic.Pointer[error]
}

type watchdogKey struct{}

func newWatchdog(ctx context.Context, patience time.Duration) (context.Context, *watchdog) {
	w := &watchdog{patience: patience}
	ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(patience, func() { w.cancel(errStalled) })
	return context.WithValue(ctx, watchdogKey{}, w), w
}

func watchdogOf(ctx context.Context) *watchdog { return ctx.Value(watchdogKey{}).(*watchdog) }

func (w *watchdog) reset()         { w.timer.Reset(w.patience) }
func (w *watchdog) note(err error) { w.fault.Store(&err) }
func (w *watchdog) stop()          { w.timer.Stop(); w.cancel(nil) }
func (w *watchdog) last() error {
	if p := w.fault.Load(); p != nil {
		return *p
	}
	return nil
}
