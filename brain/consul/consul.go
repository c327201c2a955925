// Package consul adapts internal/fleet to brain.Fleet.
//
//	registration, err := registry.RegisterInstance(ctx, wire.BrainService, me)
//	b, err := brain.New(brain.Config{Fleet: consul.Fleet{Fleet: registry, Holder: registration}, …})
package consul

import (
	"context"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// Fleet is a brain.Fleet. Its locks are lost when the health check of Holder,
// the brain's own registration, fails.
type Fleet struct {
	*fleet.Fleet
	Holder *fleet.InstanceRegistration
}

// WatchNodes implements brain.Fleet.
func (f Fleet) WatchNodes(ctx context.Context, fn func([]wire.Node)) {
	<-f.Fleet.WatchNodes(ctx, fn).Done()
}

// WatchApps implements brain.Fleet.
func (f Fleet) WatchApps(ctx context.Context, fn func(map[string]wire.App)) {
	<-f.Fleet.WatchApps(ctx, fn).Done()
}

// WatchSite implements brain.Fleet.
func (f Fleet) WatchSite(ctx context.Context, fn func(wire.SiteInfo)) {
	<-f.Fleet.WatchSite(ctx, fn).Done()
}

// WatchBrains implements brain.Fleet.
func (f Fleet) WatchBrains(ctx context.Context, fn func([]wire.Instance)) {
	<-f.Fleet.WatchInstances(ctx, wire.BrainService, fn).Done()
}

// Lock implements brain.Fleet.
func (f Fleet) Lock(ctx context.Context, key string) (brain.Lock, error) {
	l, err := f.Fleet.Lock(ctx, key, f.Holder)
	if err != nil {
		return nil, err // l is a nil *fleet.Lock, which is not a nil brain.Lock
	}
	return l, nil
}

// WatchWebhooks implements events.Registry.
func (f Fleet) WatchWebhooks(ctx context.Context, fn func(map[string]wire.Webhook)) {
	<-f.Webhooks().Watch(ctx, fn).Done()
}

// PutWebhookState implements events.Registry.
func (f Fleet) PutWebhookState(ctx context.Context, state wire.WebhookState) error {
	return f.WebhookStates().Put(ctx, state)
}

// DeleteWebhookState implements events.Registry.
func (f Fleet) DeleteWebhookState(ctx context.Context, id string) error {
	return f.WebhookStates().Delete(ctx, id)
}
