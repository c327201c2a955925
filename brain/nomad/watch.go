package nomad

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nearcast/nearcast/brain"
)

const (
	// silence is how long the event stream may send nothing. Nomad v1.11 sends a
	// heartbeat every thirty seconds.
	silence = 45 * time.Second
	// resync is how often the list of jobs is compared with the mirror: a job that dies
	// because its evaluations are collected makes no event.
	resync = 5 * time.Minute
	// resumeWithin is how long the stream may take to repeat the last event. Nomad
	// sends it at once, where it still has it.
	resumeWithin = 2 * time.Second
	// maxRetained is how many events may come while the tables are read.
	maxRetained = 10_000
)

// Watch implements brain.Nomad.
func (c *Client) Watch(ctx context.Context, fn func(brain.JobsChange)) {
	newWatch(c, fn).run(ctx)
}

// watch is one Watch.
type watch struct {
	*Client
	mirror *mirror
	tell   func(brain.JobsChange)
	stray  misplaced
}

func newWatch(c *Client, tell func(brain.JobsChange)) *watch {
	return &watch{Client: c, mirror: newMirror(c), tell: tell, stray: misplaced{client: c, named: map[string]bool{}}}
}

// run follows the event stream until ctx ends. When it breaks, it goes on.
func (w *watch) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		begin := time.Now()
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > 10*time.Second {
			failures = 0
		}
		failures++
		if failures == 1 {
			w.log.Warn("cannot watch nomad; retrying", "error", err)
			continue // at once: what happens meanwhile is lost if there is much of it
		}
		t := time.NewTimer(min(100*time.Millisecond<<min(failures-1, 8), 5*time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// follow follows the event stream until it breaks.
func (w *watch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel(nil)
	m := w.mirror
	m.listing, m.retained = false, nil // of an earlier stream

	last := m.last
	if m.missed {
		last = 0 // the stream broke before the tables were read
	}
	from := last
	if last == 0 {
		from = newest
	}
	s, err := w.open(ctx, from)
	if err != nil {
		return err
	}
	defer s.close()
	quiet := time.AfterFunc(silence, func() {
		cancel(fmt.Errorf("nothing came for %s", silence))
		s.body.Close()
	})
	defer quiet.Stop()

	tables, tokens := make(chan result, 1), make(chan token)
	list := func(gap bool) {
		if m.listing {
			return
		}
		m.listing, m.forgotten = true, map[string]struct{}{}
		k := m.known(gap)
		asking.Go(func() {
			t, err := w.list(ctx, k)
			tables <- result{t, err}
		})
	}
	resumed := time.NewTimer(time.Hour) // set when Nomad has opened the stream
	defer resumed.Stop()
	again := time.NewTicker(w.resync)
	defer again.Stop()
	opened, continuous := false, false
	gap := func() {
		if last != 0 {
			w.log.Info("nomad has forgotten the last event; reading its tables again", "index", last)
		}
		continuous, last, m.missed = true, 0, true // continuous from here on
		list(true)
	}
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return errors.Join(context.Cause(ctx), s.err)
			}
			quiet.Reset(silence)
			b, err := s.decode(line)
			if err != nil {
				return err
			}
			if !opened {
				// Nomad has opened the stream: no change falls between it and the tables.
				opened = true
				resumed.Reset(resumeWithin)
			}
			if !continuous {
				switch {
				case last == 0:
					gap()
				case b.Index == last:
					continuous = true
				case b.Index > last:
					gap()
				}
			}
			if len(b.Events) == 0 || b.Index < last {
				continue
			}
			m.last = b.Index
			m.apply(b.Events)
			if m.listing {
				m.retained = append(m.retained, b.Events...)
			}
			if len(m.retained) > maxRetained {
				return fmt.Errorf("%d events came while the tables were read", len(m.retained))
			}
		case <-resumed.C:
			if !continuous {
				gap()
			}
		case r := <-tables:
			if r.err != nil {
				return r.err
			}
			m.merge(r.tables)
			if ids := m.withoutToken(); len(ids) > 0 {
				asking.Go(func() { w.readTokens(ctx, ids, tokens) })
			}
		case t := <-tokens:
			m.token(t.child, t.token)
		case <-again.C:
			if continuous {
				list(false)
			}
		}
		if change, ok := m.flush(); ok {
			w.tell(change)
		}
	}
}

type result struct {
	tables *tables
	err    error
}

// list reads the tables.
func (w *watch) list(ctx context.Context, k known) (*tables, error) {
	if err := w.findNamespace(ctx, w.namespace); err != nil {
		return nil, err
	}
	t, err := w.read(ctx, k)
	if err != nil {
		return nil, err
	}
	w.stray.look(ctx)
	return t, nil
}
