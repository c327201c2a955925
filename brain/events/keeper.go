package events

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	lookEvery  = 500 * time.Millisecond
	storeEvery = time.Second
	// maxUnstored is how many events of a webhook wait in memory while the store does not answer.
	maxUnstored = 10_000
)

// Registry is where webhooks are registered.
type Registry interface {
	// WatchWebhooks calls fn with all webhooks at each change, until ctx ends.
	WatchWebhooks(ctx context.Context, fn func(map[string]wire.Webhook))
	PutWebhookState(ctx context.Context, state wire.WebhookState) error
	DeleteWebhookState(ctx context.Context, id string) error
}

// Config is what a Keeper is made of.
type Config struct {
	Site, Brain string
	Store       Store
	Registry    Registry
	// Private lets endpoints have addresses that are not public, and no TLS: for development.
	Private bool
	Log     *slog.Logger          // nil means slog.Default()
	Metrics prometheus.Registerer // nil means none
}

// Keeper derives a site's events and delivers them, while its brain leads.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	client  *http.Client
	every   time.Duration // that it looks
}

// New makes a Keeper.
func New(cfg Config) *Keeper {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Keeper{cfg: cfg, log: cfg.Log, metrics: newMetrics(cfg.Metrics), client: newClient(cfg.Private), every: lookEvery}
}

// term is a Keeper while it leads.
type term struct {
	*Keeper
	name  string // of the term, in keys
	seq   int
	slots chan struct{}
	run   sync.WaitGroup
	ctx   context.Context

	known    Known
	stored   Known // as it is in the store
	unstored map[string][]wire.Event
	senders  map[string]*running
	failing  bool // the store fails; so that an outage is logged once
	storedAt time.Time
	saving   bool
	saved    chan saved // what came of a save
}

// running is a sender with what ends it.
type running struct {
	*sender
	stop context.CancelFunc
	told wire.WebhookState // to operators
	at   time.Time
}

// Lead derives and delivers until ctx ends. look says what there is at the site, and reports false
// while that is not known.
func (k *Keeper) Lead(ctx context.Context, look func() (Snapshot, bool)) {
	t := &term{Keeper: k, ctx: ctx, slots: make(chan struct{}, inAll), unstored: map[string][]wire.Event{}, senders: map[string]*running{},
		saved: make(chan saved, 1)}
	defer k.client.CloseIdleConnections()
	defer func() {
		for id, r := range t.senders {
			r.stop()
			k.metrics.forget(id)
		}
		t.run.Wait()
	}()
	hooks := make(chan map[string]wire.Webhook, 1)
	t.run.Go(func() {
		k.cfg.Registry.WatchWebhooks(ctx, func(all map[string]wire.Webhook) {
			select {
			case <-hooks:
			default:
			}
			hooks <- all
		})
	})
	var first map[string]wire.Webhook
	select {
	case first = <-hooks:
	case <-ctx.Done():
		return
	}
	pending, ok := t.begin(ctx)
	if !ok {
		return
	}
	t.follow(first, pending)
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case all := <-hooks:
			t.follow(all, nil)
		case s := <-t.saved:
			t.hasSaved(s)
		case <-tick.C:
			if now, ok := look(); ok {
				t.take(now)
			}
			t.save(ctx, time.Now())
			t.tell(ctx, time.Now())
		}
	}
}

// begin loads what the leaders before have left, in a term after theirs. pending are the keys of what
// is not delivered.
func (t *term) begin(ctx context.Context) (pending []string, ok bool) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		var err error
		if pending, err = t.load(ctx); err == nil {
			return pending, true
		}
		if ctx.Err() != nil {
			return nil, false
		}
		t.storeFails(err)
		sleep(ctx, nil, wait)
	}
}

func (t *term) load(ctx context.Context) (pending []string, err error) {
	all, err := t.cfg.Store.List(ctx, "known/")
	if err != nil {
		return nil, err
	}
	number := 0
	for _, key := range slices.Backward(all) {
		var n int
		if _, err := fmt.Sscanf(key, "known/%d.json.gz", &n); err != nil {
			continue
		}
		number = max(number, n)
		data, err := t.cfg.Store.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		if t.known, err = decodeKnown(data); err != nil {
			t.log.Error("ignored what an earlier leader knew of sessions: it cannot be read", "key", key, "error", err)
			t.known = Known{}
			continue
		}
		break
	}
	t.stored, t.name = t.known, fmt.Sprintf("%010d", number+1)
	if pending, err = t.cfg.Store.List(ctx, "pending/"); err != nil {
		return nil, err
	}
	// From here on the term is taken, whatever an earlier leader still writes.
	if err := t.put(ctx, t.known); err != nil {
		return nil, err
	}
	for _, key := range all {
		t.cfg.Store.Delete(ctx, key) // what is left costs the next leader a look
	}
	return pending, nil
}

func (t *term) put(ctx context.Context, known Known) error {
	data, err := encodeKnown(known)
	if err != nil {
		return err
	}
	return t.cfg.Store.Put(ctx, "known/"+t.name+".json.gz", data)
}

func encodeKnown(known Known) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if err := json.NewEncoder(z).Encode(known); err != nil {
		return nil, fmt.Errorf("encode what is known: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("encode what is known: %w", err)
	}
	return out.Bytes(), nil
}

func decodeKnown(data []byte) (known Known, err error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return known, fmt.Errorf("read what is known: %w", err)
	}
	if err := json.NewDecoder(io.LimitReader(z, maxObject)).Decode(&known); err != nil {
		return Known{}, fmt.Errorf("read what is known: %w", err)
	}
	return known, nil
}

// follow has one sender for each webhook. pending are keys of what earlier leaders have left.
func (t *term) follow(all map[string]wire.Webhook, pending []string) {
	ids := slices.Sorted(maps.Keys(all))
	slices.SortStableFunc(ids, func(a, b string) int { return all[a].Created.Compare(all[b].Created) })
	if len(ids) > wire.MaxWebhooks {
		t.log.Error("ignored webhooks beyond what a site takes", "webhooks", len(ids), "most", wire.MaxWebhooks)
		ids = ids[:wire.MaxWebhooks]
	}
	for id, r := range t.senders {
		if !slices.Contains(ids, id) {
			r.stop()
			delete(t.senders, id)
			delete(t.unstored, id)
			t.metrics.forget(id)
			t.run.Go(func() { t.purge(id) })
		}
	}
	for _, id := range ids {
		r := t.senders[id]
		if r == nil {
			ctx, stop := context.WithCancel(t.ctx)
			r = &running{stop: stop, sender: &sender{id: id, store: t.cfg.Store, slots: t.slots, log: t.log, count: t.metrics, wake: make(chan struct{}, 1),
				state: wire.WebhookState{ID: id, Brain: t.cfg.Brain},
				send: func(ctx context.Context, hook wire.Webhook, id string, body []byte) error {
					return post(ctx, t.client, hook, id, body, t.cfg.Private)
				}}}
			t.senders[id] = r
			for _, key := range pending {
				if strings.HasPrefix(key, "pending/"+id+"/") {
					r.add(key, 0)
				}
			}
			r.update(all[id])
			t.run.Go(func() { r.sender.run(ctx) })
		}
		r.update(all[id])
		t.run.Go(func() { r.test(t.ctx, t.cfg.Site) })
	}
	for _, key := range pending {
		if id, _, _ := strings.Cut(strings.TrimPrefix(key, "pending/"), "/"); t.senders[id] == nil {
			t.cfg.Store.Delete(t.ctx, key) // of a webhook that was revoked
		}
	}
}

// purge forgets a webhook that was revoked.
func (t *term) purge(id string) {
	keys, err := t.cfg.Store.List(t.ctx, "pending/"+id+"/")
	for _, key := range keys {
		if err == nil {
			err = t.cfg.Store.Delete(t.ctx, key)
		}
	}
	if err == nil {
		err = t.cfg.Registry.DeleteWebhookState(t.ctx, id)
	}
	if err != nil && t.ctx.Err() == nil {
		t.log.Warn("cannot forget a webhook that was revoked", "webhook", id, "error", err)
	}
}

// wants reports whether a webhook is told of an event.
func wants(hook wire.Webhook, e wire.Event) bool {
	if hook.Customer != "" && (hook.Customer != e.Data.Customer || slices.Contains(wire.SiteEvents, e.Type)) {
		return false
	}
	return len(hook.Types) == 0 || slices.Contains(hook.Types, e.Type)
}

// take derives what is new.
func (t *term) take(now Snapshot) {
	events, next := t.known.Diff(t.cfg.Site, now)
	t.known = next
	for _, e := range events {
		t.metrics.derived.WithLabelValues(e.Type).Inc()
		for id, r := range t.senders {
			if wants(r.registered(), e) {
				t.unstored[id] = append(t.unstored[id], e)
			}
		}
	}
}

// differs reports whether something is known that is to be stored.
func (k Known) differs(o Known) bool {
	return !maps.Equal(k.Apps, o.Apps) || len(k.Failed) != len(o.Failed) ||
		!maps.EqualFunc(k.Sessions, o.Sessions, func(a, b told) bool { return a.Number == b.Number && a.Seat == b.Seat })
}
