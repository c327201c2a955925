package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// PublishApp writes an app and its capacity for the routers.
func (f *Fleet) PublishApp(ctx context.Context, app wire.App) error {
	value, err := json.Marshal(app)
	if err != nil {
		return fmt.Errorf("encode app %s: %w", app.ID, err)
	}
	if _, err := f.consul.KV().Put(&api.KVPair{Key: wire.AppsPrefix + app.ID, Value: value}, f.write(ctx)); err != nil {
		return fmt.Errorf("publish app %s: %w", app.ID, err)
	}
	return nil
}

// RemoveApp removes an app from the list. An app that is not there is no error.
func (f *Fleet) RemoveApp(ctx context.Context, id string) error {
	if _, err := f.consul.KV().Delete(wire.AppsPrefix+id, f.write(ctx)); err != nil {
		return fmt.Errorf("remove app %s: %w", id, err)
	}
	return nil
}

// WatchApps calls fn with all apps of the site by id: first as soon as Consul
// answers, then at each change. fn may keep the map.
func (f *Fleet) WatchApps(ctx context.Context, fn func(map[string]wire.App)) *Watch {
	return watch(ctx, f, "apps", f.apps, fn)
}

// Apps are all apps of the site by id, now.
func (f *Fleet) Apps(ctx context.Context) (map[string]wire.App, error) {
	apps, _, err := f.apps(f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	return apps, nil
}

func (f *Fleet) apps(opts *api.QueryOptions) (map[string]wire.App, *api.QueryMeta, error) {
	pairs, meta, err := f.consul.KV().List(wire.AppsPrefix, opts)
	if err != nil {
		return nil, nil, err
	}
	apps := make(map[string]wire.App, len(pairs))
	for _, pair := range pairs {
		var app wire.App
		id := strings.TrimPrefix(pair.Key, wire.AppsPrefix)
		if err := json.Unmarshal(pair.Value, &app); err != nil || app.ID != id {
			f.log.Warn("ignored a malformed app in consul", "key", pair.Key, "error", err)
			continue
		}
		apps[id] = app
	}
	return apps, meta, nil
}
