package fleet

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// watchWait is how long Consul holds a query open when nothing changes. It
	// is short so that an agent's silence is noticed.
	watchWait = 30 * time.Second
	// watchGrace is what Consul may take in addition: a sixteenth of jitter, and the
	// network.
	watchGrace = watchWait/16 + 8*time.Second
)

// Watch is a running watch. It ends with its context.
type Watch struct {
	done chan struct{}

	mu      sync.Mutex
	success time.Time
	err     error
}

// Stale reports whether the last delivery may be out of date: Consul has not
// answered yet, or its last answer was an error or is overdue.
func (w *Watch) Stale() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err != nil || time.Since(w.success) > watchWait+watchGrace
}

// LastSuccess is when Consul answered last; zero if it never did.
func (w *Watch) LastSuccess() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.success
}

// Done is closed when the watch has ended; fn is not called after that.
func (w *Watch) Done() <-chan struct{} { return w.done }

func (w *Watch) note(err error) (was error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, w.err = w.err, err
	if err == nil {
		w.success = time.Now()
	}
	return was
}

// watch follows a blocking query and calls fn with each answer that differs from
// the one before.
func watch[T any](ctx context.Context, f *Fleet, what string,
	get func(*api.QueryOptions) (T, *api.QueryMeta, error), fn func(T)) *Watch {
	w := &Watch{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		var (
			index    uint64
			last     T
			told     bool
			failures int
		)
		for ctx.Err() == nil {
			query, cancel := context.WithTimeout(ctx, watchWait+watchGrace)
			opts := f.query(query)
			opts.WaitIndex, opts.WaitTime = index, watchWait
			got, meta, err := get(opts)
			cancel()
			if ctx.Err() != nil {
				return
			}
			was := w.note(err)
			if err != nil {
				if was == nil {
					f.log.Warn("watching consul failed; retrying", "what", what, "site", f.site, "error", err)
				}
				// After a failure Consul may have started over with a smaller index;
				// to wait for a larger one would miss changes.
				index = 0
				failures++
				t := time.NewTimer(backOff(failures, 5*time.Second))
				select {
				case <-t.C:
				case <-ctx.Done():
				}
				t.Stop()
				continue
			}
			if was != nil {
				f.log.Info("watching consul again", "what", what, "site", f.site)
			}
			failures = 0
			switch next := meta.LastIndex; {
			case next < index:
				index = 0 // restored from a snapshot: start over
			case next == 0:
				index = 1 // 0 would not block, and this loop would spin
			default:
				index = next
			}
			if !told || !reflect.DeepEqual(got, last) {
				told, last = true, got
				fn(got)
			}
		}
	}()
	return w
}
