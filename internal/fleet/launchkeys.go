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

// PutLaunchKey registers a key at the site. A second time changes its record.
func (f *Fleet) PutLaunchKey(ctx context.Context, key wire.LaunchKey) error {
	value, err := json.Marshal(key)
	if err != nil {
		return fmt.Errorf("encode launch key %s: %w", key.ID, err)
	}
	if _, err := f.consul.KV().Put(&api.KVPair{Key: wire.LaunchKeysPrefix + key.ID, Value: value}, f.write(ctx)); err != nil {
		return fmt.Errorf("register launch key %s: %w", key.ID, err)
	}
	return nil
}

// DeleteLaunchKey revokes a key at the site. A key that is not there is no error.
func (f *Fleet) DeleteLaunchKey(ctx context.Context, id string) error {
	if _, err := f.consul.KV().Delete(wire.LaunchKeysPrefix+id, f.write(ctx)); err != nil {
		return fmt.Errorf("revoke launch key %s: %w", id, err)
	}
	return nil
}

// LaunchKeys are the keys of the site by their id.
func (f *Fleet) LaunchKeys(ctx context.Context) (map[string]wire.LaunchKey, error) {
	opts := f.query(ctx)
	opts.RequireConsistent = true // an operator who revokes reads what is in force
	keys, meta, err := f.launchKeys(opts)
	if err != nil {
		return nil, fmt.Errorf("list launch keys: %w", err)
	}
	if meta.ResultsFilteredByACLs { // else no key at all would look like no permission
		return nil, errors.New("list launch keys: the Consul token may not read them; it needs the policy nearcast-launch-keys")
	}
	return keys, nil
}

// WatchLaunchKeys calls fn with all keys of the site by id: first as soon as Consul
// answers, then at each change. fn may keep the map.
func (f *Fleet) WatchLaunchKeys(ctx context.Context, fn func(map[string]wire.LaunchKey)) *Watch {
	return watch(ctx, f, "launch keys", f.launchKeys, fn)
}

func (f *Fleet) launchKeys(opts *api.QueryOptions) (map[string]wire.LaunchKey, *api.QueryMeta, error) {
	pairs, meta, err := f.consul.KV().List(wire.LaunchKeysPrefix, opts)
	if err != nil {
		return nil, nil, err
	}
	keys := make(map[string]wire.LaunchKey, len(pairs))
	for _, pair := range pairs {
		var key wire.LaunchKey
		id := strings.TrimPrefix(pair.Key, wire.LaunchKeysPrefix)
		if err := json.Unmarshal(pair.Value, &key); err != nil || key.ID != id {
			f.log.Warn("ignored a malformed launch key in consul", "key", pair.Key, "site", f.site, "error", err)
			continue
		}
		keys[id] = key
	}
	return keys, meta, nil
}
