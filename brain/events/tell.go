package events

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// tellEvery is how often the state of a webhook is written at most, unless deliveries begin to
	// fail or to succeed: each write goes through Raft.
	tellEvery = time.Minute
	// testFor is how long a test may be asked for before a brain comes to it.
	testFor = 2 * time.Minute
)

// tell writes for operators how deliveries go.
func (t *term) tell(ctx context.Context, now time.Time) {
	for id, r := range t.senders {
		state := r.stateNow()
		t.metrics.pending.WithLabelValues(id).Set(float64(state.Pending))
		failed := 0.0
		if failing(state) {
			failed = now.Sub(state.FailingSince).Seconds()
		}
		t.metrics.failing.WithLabelValues(id).Set(failed)
		turned := failing(state) != failing(r.told) || state.Test != r.told.Test
		if state == r.told || !turned && now.Sub(r.at) < tellEvery {
			continue
		}
		r.told, r.at = state, now
		state.Updated = now.UTC()
		t.run.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if err := t.cfg.Registry.PutWebhookState(ctx, state); err != nil && t.ctx.Err() == nil {
				t.log.Warn("cannot write how a webhook goes", "webhook", id, "error", err)
			}
		})
	}
}

func (s *sender) registered() wire.Webhook {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hook
}

// test sends a test event if an operator has asked for one. It does not wait for other events.
func (s *sender) test(ctx context.Context, site string) {
	s.mu.Lock()
	hook, asked := s.hook, s.hook.Test
	if asked.IsZero() || asked.Equal(s.tested) || time.Since(asked) > testFor {
		s.mu.Unlock()
		return
	}
	s.tested = asked
	s.mu.Unlock()
	id := fmt.Sprintf("test-%s-%s-%d", site, s.id, asked.UnixMilli())
	body, err := json.Marshal(wire.Event{SpecVersion: "1.0", ID: id, Source: "/sites/" + site, Type: wire.EventTest, Subject: s.id, Time: asked.UTC(),
		DataContentType: "application/json", Data: wire.EventData{Site: site, Webhook: s.id}})
	began := time.Now()
	if err == nil {
		err = s.send(ctx, hook, id, body)
	}
	if ctx.Err() != nil {
		return
	}
	result := &wire.WebhookTest{Asked: asked, TookMS: time.Since(began).Milliseconds()}
	if err != nil {
		result.Error = plain(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Test = result
}
