package device

import (
	"context"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/hashicorp/nomad/plugins/device"
	"github.com/hashicorp/nomad/plugins/shared/structs"
)

// Stats tells how busy the GPUs are, each interval until ctx ends. The seats of one GPU have the
// figures of the whole GPU: NVML does not tell them apart.
func (p *Plugin) Stats(ctx context.Context, interval time.Duration) (<-chan *device.StatsResponse, error) {
	out := make(chan *device.StatsResponse)
	go func() {
		defer close(out)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case out <- &device.StatsResponse{Groups: p.measure()}:
			case <-ctx.Done():
				return
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (p *Plugin) measure() (groups []*device.DeviceGroupStats) {
	p.using.RLock()
	defer p.using.RUnlock()
	offered := p.groups()
	p.mu.Lock()
	byID := map[string]gpu{}
	for _, g := range p.gpus {
		for n := range p.settings.of(g.model) {
			byID[seatID(g.uuid, n)] = g
		}
	}
	p.mu.Unlock()
	measured := map[string]*device.DeviceStats{} // by UUID
	for _, group := range offered {
		all := &device.DeviceGroupStats{Vendor: group.Vendor, Type: group.Type, Name: group.Name, InstanceStats: map[string]*device.DeviceStats{}}
		for _, seat := range group.Devices {
			g, ok := byID[seat.ID]
			if !ok || !seat.Healthy {
				continue
			}
			if measured[g.uuid] == nil {
				measured[g.uuid] = g.measure()
			}
			all.InstanceStats[seat.ID] = measured[g.uuid]
		}
		groups = append(groups, all)
	}
	return groups
}

// measure leaves out what a GPU does not tell.
func (g gpu) measure() *device.DeviceStats {
	stats := map[string]*structs.StatValue{}
	number := func(key string, value int64, unit, what string) {
		stats[key] = &structs.StatValue{IntNumeratorVal: &value, Unit: unit, Desc: what}
	}
	if u, ret := g.handle.GetUtilizationRates(); ret == nvml.SUCCESS {
		number("gpu_utilisation", int64(u.Gpu), "%", "time in which the GPU computed")
	}
	if u, _, ret := g.handle.GetEncoderUtilization(); ret == nvml.SUCCESS {
		number("encoder_utilisation", int64(u), "%", "time in which the GPU encoded")
	}
	if n, _, _, ret := g.handle.GetEncoderStats(); ret == nvml.SUCCESS {
		number("encoder_sessions", int64(n), "", "sessions of the encoder")
	}
	if m, ret := g.handle.GetMemoryInfo(); ret == nvml.SUCCESS {
		number("memory_used", int64(m.Used>>20), structs.UnitMiB, "memory in use, of all seats together")
		total := int64(m.Total >> 20)
		stats["memory_used"].IntDenominatorVal = &total
	}
	out := &device.DeviceStats{Stats: &structs.StatObject{Attributes: stats}, Timestamp: time.Now()}
	for _, key := range []string{"gpu_utilisation", "memory_used"} {
		if out.Summary == nil {
			out.Summary = stats[key]
		}
	}
	return out
}
