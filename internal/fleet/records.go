package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// Records are what an operator has registered of one kind at the site, each below its id:
//
//	keys := f.LaunchKeys()
//	err := keys.Put(ctx, key)         // a second time changes the record
//	all, err := keys.All(ctx)
//	w := keys.Watch(ctx, func(all map[string]wire.LaunchKey) { … })
//	err = keys.Delete(ctx, key.ID)
type Records[T any] struct {
	fleet  *Fleet
	prefix string
	one    string // what a record is, as in "register launch key"
	id     func(T) string
	policy string // of the tokens that may read and write all
	// keep: where the token may not read them (any more), a watch fails, and what it told stays. Else
	// there are none.
	keep bool
}

// LaunchKeys are the keys with which customers sign launch tokens.
func (f *Fleet) LaunchKeys() Records[wire.LaunchKey] {
	return Records[wire.LaunchKey]{f, wire.LaunchKeysPrefix, "launch key", func(k wire.LaunchKey) string { return k.ID }, "nearcast-launch-keys", false}
}

// APIKeys are the keys with which customers' servers read and end sessions.
func (f *Fleet) APIKeys() Records[wire.APIKey] {
	return Records[wire.APIKey]{f, wire.APIKeysPrefix, "API key", func(k wire.APIKey) string { return k.ID }, "nearcast-launch-keys", false}
}

// Webhooks are where customers' servers get events. A leader that thought them revoked would delete what
// waits for them.
func (f *Fleet) Webhooks() Records[wire.Webhook] {
	return Records[wire.Webhook]{f, wire.WebhooksPrefix, "webhook", func(w wire.Webhook) string { return w.ID }, "nearcast-webhooks", true}
}

// WebhookStates are how the deliveries to webhooks go at the site, as its leader says.
func (f *Fleet) WebhookStates() Records[wire.WebhookState] {
	return Records[wire.WebhookState]{f, wire.WebhookStatesPrefix, "webhook state", func(w wire.WebhookState) string { return w.ID }, "nearcast-webhooks", false}
}

// Put registers a record at the site.
func (r Records[T]) Put(ctx context.Context, record T) error {
	id := r.id(record)
	value, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", r.one, id, err)
	}
	if _, err := r.fleet.consul.KV().Put(&api.KVPair{Key: r.prefix + id, Value: value}, r.fleet.write(ctx)); err != nil {
		return fmt.Errorf("register %s %s: %w", r.one, id, err)
	}
	return nil
}

// Delete revokes a record at the site. One that is not there is no error.
func (r Records[T]) Delete(ctx context.Context, id string) error {
	if _, err := r.fleet.consul.KV().Delete(r.prefix+id, r.fleet.write(ctx)); err != nil {
		return fmt.Errorf("revoke %s %s: %w", r.one, id, err)
	}
	return nil
}

// All are the records of the site by their id.
func (r Records[T]) All(ctx context.Context) (map[string]T, error) {
	opts := r.fleet.query(ctx)
	opts.RequireConsistent = true // an operator who revokes reads what is in force
	all, meta, err := r.list(opts)
	if err != nil {
		return nil, fmt.Errorf("list %ss: %w", r.one, err)
	}
	if meta.ResultsFilteredByACLs { // else none at all would look like no permission
		return nil, fmt.Errorf("list %ss: %w, and use a token with the policy %s", r.one, errMayNotRead, r.policy)
	}
	return all, nil
}

// Watch calls fn with all records of the site by id: first as soon as Consul answers, then at
// each change. fn may keep the map.
func (r Records[T]) Watch(ctx context.Context, fn func(map[string]T)) *Watch {
	return watch(ctx, r.fleet, r.one+"s", func(opts *api.QueryOptions) (map[string]T, *api.QueryMeta, error) {
		all, meta, err := r.list(opts)
		if err == nil && r.keep && meta.ResultsFilteredByACLs {
			err = errMayNotRead
		}
		return all, meta, err
	}, fn)
}

var errMayNotRead = errors.New("the Consul token may not read them; run acl/apply.sh again")

func (r Records[T]) list(opts *api.QueryOptions) (map[string]T, *api.QueryMeta, error) {
	pairs, meta, err := r.fleet.consul.KV().List(r.prefix, opts)
	if err != nil {
		return nil, nil, err
	}
	all := make(map[string]T, len(pairs))
	for _, pair := range pairs {
		var record T
		id := strings.TrimPrefix(pair.Key, r.prefix)
		if err := json.Unmarshal(pair.Value, &record); err != nil || r.id(record) != id {
			r.fleet.log.Warn("ignored a malformed record in consul", "what", r.one, "key", pair.Key, "site", r.fleet.site, "error", err)
			continue
		}
		all[id] = record
	}
	return all, meta, nil
}
