package fleet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// InstanceRegistration keeps a router or brain in Consul until it is closed or
// its context ends.
type InstanceRegistration struct {
	*registration
}

// RegisterInstance puts a router or a brain (service is wire.RouterService or
// wire.BrainService) into Consul and keeps it there. It returns at once; an
// error means that the instance's Address is not host:port. Like Address, Internal
// may leave out the host, which then is the agent's own address.
func (f *Fleet) RegisterInstance(ctx context.Context, service string, inst wire.Instance) (*InstanceRegistration, error) {
	first, err := instanceRecord(service, inst)
	if err != nil {
		return nil, err
	}
	return &InstanceRegistration{f.register(ctx, first)}, nil
}

// RegisterCaller puts a process into Consul that serves nothing, so that the parts that it asks
// know its key.
func (f *Fleet) RegisterCaller(ctx context.Context, service, id, key string) *InstanceRegistration {
	return &InstanceRegistration{f.register(ctx, record{id: service + "-" + id, name: service,
		meta: map[string]string{"instance": id, "key": key}, status: api.HealthPassing})}
}

// SetRoom changes how much room the instance says to have. It does not wait for Consul,
// which is told within half a second.
func (r *InstanceRegistration) SetRoom(room wire.Room) {
	want := r.wanted()
	want.meta = maps.Clone(want.meta)
	want.meta["room"] = string(room)
	r.set(want)
}

func instanceRecord(service string, inst wire.Instance) (record, error) {
	return newRecord(service+"-"+inst.ID, service, inst.Address, map[string]string{
		"instance": inst.ID, "site": inst.Site, "url": inst.URL, "internal": inst.Internal, "key": inst.Key, "room": string(inst.Room),
	}, api.HealthPassing)
}

// WatchInstances calls fn with all instances of a service, sorted by id, healthy
// or not: first as soon as Consul answers, then at each change.
func (f *Fleet) WatchInstances(ctx context.Context, service string, fn func([]wire.Instance)) *Watch {
	return watch(ctx, f, service, func(opts *api.QueryOptions) ([]wire.Instance, *api.QueryMeta, error) {
		return f.instances(service, opts)
	}, fn)
}

// Instances are all instances of a service, as WatchInstances gives them, now.
func (f *Fleet) Instances(ctx context.Context, service string) ([]wire.Instance, error) {
	list, _, err := f.instances(service, f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", service, err)
	}
	return list, nil
}

func (f *Fleet) instances(service string, opts *api.QueryOptions) ([]wire.Instance, *api.QueryMeta, error) {
	entries, meta, err := f.consul.Health().Service(service, "", false, opts)
	if err != nil {
		return nil, nil, err
	}
	out := make([]wire.Instance, 0, len(entries))
	for _, entry := range entries {
		out = append(out, wire.Instance{
			ID:       entry.Service.Meta["instance"],
			Site:     entry.Service.Meta["site"],
			URL:      entry.Service.Meta["url"],
			Address:  serviceAddress(entry),
			Internal: internalAddress(entry),
			Key:      entry.Service.Meta["key"],
			Room:     wire.Room(entry.Service.Meta["room"]),
			Healthy:  entry.Checks.AggregatedStatus() == api.HealthPassing,
		})
	}
	slices.SortFunc(out, func(a, b wire.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return out, meta, nil
}

// internalAddress is the address of an instance's internal listener; empty where
// the instance has none.
func internalAddress(entry *api.ServiceEntry) string {
	host, port, err := net.SplitHostPort(entry.Service.Meta["internal"])
	if err != nil {
		return ""
	}
	return net.JoinHostPort(cmp.Or(host, serviceHost(entry)), port)
}

func serviceAddress(entry *api.ServiceEntry) string {
	return net.JoinHostPort(serviceHost(entry), strconv.Itoa(entry.Service.Port))
}

func serviceHost(entry *api.ServiceEntry) string {
	return cmp.Or(entry.Service.Address, entry.Node.Address)
}
