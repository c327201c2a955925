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

// PutAPIKey registers an API key at the site. A second time changes its record.
func (f *Fleet) PutAPIKey(ctx context.Context, key wire.APIKey) error {
	value, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("encode API key %s: %w", key.ID, err)
	}
	if _, err := f.consul.KV().Put(&api.KVPair{Key: wire.APIKeysPrefix + key.ID, Value: value}, f.write(ctx)); err != nil {
		return fmt.Errorf("register API key %s: %w", key.ID, err)
	}
	return nil
}

// DeleteAPIKey revokes an API key at the site. A key that is not there is no error.
func (f *Fleet) DeleteAPIKey(ctx context.Context, id string) error {
	if _, err := f.consul.KV().Delete(wire.APIKeysPrefix+id, f.write(ctx)); err != nil {
		return fmt.Errorf("revoke API key %s: %w", id, err)
	}
	return nil
}

// APIKeys are the API keys of the site by their id.
func (f *Fleet) APIKeys(ctx context.Context) (map[string]wire.APIKey, error) {
	opts := f.query(ctx)
	opts.RequireConsistent = true // an operator who revokes reads what is in force
	keys, meta, err := f.apiKeys(opts)
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	if meta.ResultsFilteredByACLs { // else no key at all would look like no permission
		return nil, errors.New("list API keys: the Consul token may not read them; run acl/apply.sh again, and use a token with the policy nearcast-launch-keys")
	}
	return keys, nil
}

// WatchAPIKeys calls fn with all API keys of the site by id: first as soon as Consul answers, then
// at each change. fn may keep the map.
func (f *Fleet) WatchAPIKeys(ctx context.Context, fn func(map[string]wire.APIKey)) *Watch {
	return watch(ctx, f, "API keys", f.apiKeys, fn)
}

func (f *Fleet) apiKeys(opts *api.QueryOptions) (map[string]wire.APIKey, *api.QueryMeta, error) {
	pairs, meta, err := f.consul.KV().List(wire.APIKeysPrefix, opts)
	if err != nil {
		return nil, nil, err
	}
	keys := make(map[string]wire.APIKey, len(pairs))
	for _, pair := range pairs {
		var key wire.APIKey
		id := strings.TrimPrefix(pair.Key, wire.APIKeysPrefix)
		if err := json.Unmarshal(pair.Value, &key); err != nil || key.ID != id {
			f.log.Warn("ignored a malformed API key in consul", "key", pair.Key, "site", f.site, "error", err)
			continue
		}
		keys[id] = key
	}
	return keys, meta, nil
}
