package nomad

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nearcast/nearcast/brain"
)

const (
	// silence is how long the event stream may send nothing. Nomad sends a
	// heartbeat every ten seconds.
	silence = 35 * time.Second
	// resync is how often everything is read again: what Nomad's garbage collection
	// removes makes no event.
	resync = 5 * time.Minute
)

// Watch implements brain.Nomad. It reads everything, then follows the event
// stream, and starts again when the stream breaks.
func (c *Client) Watch(ctx context.Context, fn func(brain.JobsChange)) {
	stray := misplaced{client: c, named: map[string]bool{}}
	for failures := 0; ctx.Err() == nil; {
		begin := time.Now()
		err := c.follow(ctx, fn, stray.look)
		if ctx.Err() != nil {
			return
		}
		if err == nil || time.Since(begin) > time.Minute {
			failures = 0
		}
		if err == nil {
			continue // resync is due
		}
		failures++
		if failures == 1 {
			c.log.Warn("cannot watch nomad; retrying", "error", err)
		}
		wait := min(100*time.Millisecond<<min(failures, 8), 5*time.Second)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// follow returns nil when resync is due. It calls read after it has read everything.
func (c *Client) follow(ctx context.Context, fn func(brain.JobsChange), read func(context.Context)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := c.findNamespace(ctx); err != nil {
		return err
	}
	// Open the stream before reading the tables, so that no change falls between.
	q := query(ctx)
	q.Params = map[string]string{"index": "0"}
	body, err := c.api.Raw().Response("/v1/event/stream?topic=Job&topic=Allocation&topic=Evaluation", q)
	if err != nil {
		return fmt.Errorf("open event stream: %w", err)
	}
	defer body.Close()
	m := newMirror(c)
	if err := m.read(ctx); err != nil {
		return err
	}
	fn(m.jobs())
	read(ctx)

	quiet := time.AfterFunc(silence, func() { cancel(fmt.Errorf("nothing came for %s", silence)) })
	defer quiet.Stop()
	began := time.Now()
	for dec := json.NewDecoder(body); ; {
		var batch batch
		if err := dec.Decode(&batch); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("read event stream: %w", err)
		}
		quiet.Reset(silence)
		changed, err := m.apply(batch)
		if err != nil {
			return err
		}
		if changed {
			fn(m.jobs())
		}
		if time.Since(began) > resync {
			return nil
		}
	}
}

// batch is one message of the event stream. A heartbeat has no events.
type batch struct {
	Events []struct {
		Type    string
		Index   uint64
		Payload json.RawMessage
	}
}

// apply brings events into the mirror, and reports whether one of them matters.
func (m *mirror) apply(b batch) (changed bool, err error) {
	for _, e := range b.Events {
		var payload struct {
			Job        *job
			Allocation *alloc
			Evaluation *evaluation
		}
		if err := json.Unmarshal(e.Payload, &payload); err != nil {
			return false, fmt.Errorf("decode %s event: %w", e.Type, err)
		}
		switch {
		case payload.Job != nil && e.Index > m.jobsRead:
			changed = m.job(*payload.Job, strings.Contains(e.Type, "Deregistered")) || changed
		case payload.Allocation != nil && e.Index > m.allocsRead:
			changed = m.alloc(*payload.Allocation) || changed
		case payload.Evaluation != nil && e.Index > m.jobsRead:
			changed = m.evaluation(*payload.Evaluation) || changed
		}
	}
	return changed, nil
}
