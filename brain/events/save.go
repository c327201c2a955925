package events

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// writes is how many batches are written at once.
const writes = 8

// saved is what came of a save.
type saved struct {
	known Known
	keys  map[string]string       // that were written, by webhook
	left  map[string][]wire.Event // that were not, by webhook
	err   error
}

// save stores what is new, and has it sent. It does so beside the leader's looks: a store that is slow
// must not make them miss what is short.
func (t *term) save(ctx context.Context, now time.Time) {
	for id := range t.unstored {
		t.bound(id)
	}
	if t.saving || len(t.senders) == 0 || now.Sub(t.storedAt) < storeEvery || len(t.unstored) == 0 && !t.known.differs(t.stored) {
		return
	}
	t.storedAt, t.saving = now, true
	s := saved{known: t.known, keys: map[string]string{}, left: t.unstored}
	t.unstored = map[string][]wire.Event{}
	senders := map[string]*sender{}
	for _, id := range slices.Sorted(maps.Keys(s.left)) {
		s.keys[id] = fmt.Sprintf("pending/%s/%s-%010d-%d.json", id, t.name, t.seq, now.Unix())
		senders[id] = t.senders[id].sender
		t.seq++
	}
	t.run.Go(func() { t.saved <- t.write(ctx, s, senders) })
}

// write stores the batches, and then what is known: it must not say that events were told that are not
// stored.
func (t *term) write(ctx context.Context, s saved, senders map[string]*sender) saved {
	var (
		mu   sync.Mutex
		all  sync.WaitGroup
		slot = make(chan struct{}, writes)
		todo = s.left
		keys = s.keys
	)
	s.left, s.keys = map[string][]wire.Event{}, map[string]string{}
	for id, events := range todo {
		slot <- struct{}{}
		all.Go(func() {
			defer func() { <-slot }()
			data, err := json.Marshal(events)
			if err == nil {
				err = t.cfg.Store.Put(ctx, keys[id], data)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.left[id], s.err = events, err
				return
			}
			s.keys[id] = keys[id]
			senders[id].add(keys[id], len(events))
		})
	}
	all.Wait()
	if s.err == nil {
		s.err = t.put(ctx, s.known)
	}
	return s
}

// hasSaved notes what came of a save.
func (t *term) hasSaved(s saved) {
	t.saving = false
	for id, key := range s.keys {
		if t.senders[id] == nil { // it was revoked meanwhile
			t.run.Go(func() { t.cfg.Store.Delete(t.ctx, key) })
		}
	}
	for id, events := range s.left {
		if t.senders[id] != nil {
			t.unstored[id] = append(events, t.unstored[id]...)
		}
	}
	if s.err != nil {
		t.storeFails(s.err)
		return
	}
	t.stored = s.known
	if t.failing {
		t.failing = false
		t.log.Info("the store of events answers again")
	}
}

// bound drops the oldest of the events of a webhook that are too many.
func (t *term) bound(id string) {
	r, events := t.senders[id], t.unstored[id]
	over := max(0, len(events)-maxUnstored)
	if r.full() {
		over = len(events)
	}
	if over == 0 {
		return
	}
	r.mu.Lock()
	r.state.Dropped += int64(over)
	r.mu.Unlock()
	r.lost(over, "too many wait")
	if events = events[over:]; len(events) == 0 {
		delete(t.unstored, id)
		return
	}
	t.unstored[id] = events
}

func (t *term) storeFails(err error) {
	t.metrics.storeFailed()
	if !t.failing && t.ctx.Err() == nil {
		t.failing = true
		t.log.Error("the store of events (--events) fails: webhooks wait", "error", err)
	}
}
