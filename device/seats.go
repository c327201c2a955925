package device

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/device"
	"github.com/hashicorp/nomad/plugins/shared/structs"

	"github.com/nearcast/nearcast/internal/wire"
)

func seatID(uuid string, n int) string { return uuid + ":" + strconv.Itoa(n) }

// groups are the node's seats by model, in an order that does not change.
func (p *Plugin) groups() (groups []*device.DeviceGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	byModel := map[string][]gpu{}
	for _, g := range p.gpus {
		byModel[g.model] = append(byModel[g.model], g)
	}
	for model, gpus := range byModel {
		slices.SortFunc(gpus, func(a, b gpu) int { return cmp.Compare(a.busID, b.busID) })
		seats := p.settings.of(model)
		least := slices.MinFunc(gpus, func(a, b gpu) int { return cmp.Compare(a.memory, b.memory) })
		group := &device.DeviceGroup{
			Vendor: wire.GPUVendor, Type: wire.GPUType, Name: model,
			Attributes: map[string]*structs.Attribute{
				"memory":         structs.NewIntAttribute(int64(least.memory>>20)/int64(seats), structs.UnitMiB),
				"driver_version": structs.NewStringAttribute(gpus[0].driver),
				"seats_per_gpu":  structs.NewIntAttribute(int64(seats), ""),
			},
		}
		if p.settings.sessions > 0 {
			group.Attributes["encoder_sessions"] = structs.NewIntAttribute(int64(p.settings.sessions/seats), "")
		}
		for _, g := range gpus {
			why := p.sick(g.uuid)
			for n := range seats {
				group.Devices = append(group.Devices, &device.Device{
					ID: seatID(g.uuid, n), Healthy: why == "", HealthDesc: why,
					HwLocality: &device.DeviceLocality{PciBusID: g.busID},
				})
			}
		}
		groups = append(groups, group)
	}
	slices.SortFunc(groups, func(a, b *device.DeviceGroup) int { return cmp.Compare(a.Name, b.Name) })
	return groups
}

// reserved is the GPU of these seats.
func (p *Plugin) reserved(ids []string) (g gpu, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, id := range ids {
		uuid, n, _ := strings.Cut(id, ":")
		one, known := p.gpus[uuid]
		if seat, err := strconv.Atoi(n); !known || err != nil || seat < 0 || seat >= p.settings.of(one.model) || seatID(uuid, seat) != id {
			return g, fmt.Errorf("this node has no seat %q: a GPU was removed, or seats_per_gpu was lowered", id)
		}
		if why := p.sick(uuid); why != "" {
			return g, fmt.Errorf("GPU %s is unhealthy: %s", uuid, why)
		}
		if i > 0 && one.uuid != g.uuid {
			return g, fmt.Errorf("a task cannot use two GPUs, %s and %s: set count = 1 in its device block", g.uuid, uuid)
		}
		g = one
	}
	return g, nil
}

// Reserve says what a task with these seats needs to use their GPU.
func (p *Plugin) Reserve(ids []string) (*device.ContainerReservation, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("reserve: no seat is named")
	}
	// Also after a new start of this process, before anybody asked for a fingerprint.
	if err := p.look(); err != nil {
		return nil, fmt.Errorf("reserve: %w", err)
	}
	g, err := p.reserved(ids)
	if err != nil {
		return nil, fmt.Errorf("reserve: %w", err)
	}
	out := &device.ContainerReservation{Envs: map[string]string{
		wire.EnvGPU:      g.uuid,
		wire.EnvGPUBusID: g.busID,
		// The encoder takes the first GPU that CUDA shows.
		"CUDA_VISIBLE_DEVICES":   g.uuid,
		"NVIDIA_VISIBLE_DEVICES": g.uuid,
	}}
	for _, file := range files(g) {
		out.Devices = append(out.Devices, &device.DeviceSpec{TaskPath: file, HostPath: file, CgroupPerms: "rw"})
	}
	return out, nil
}

// files are the device files by which programs use a GPU: its own, and those that all GPUs share
// and this node has.
func files(g gpu) []string {
	out := []string{fmt.Sprintf("/dev/nvidia%d", g.minor)}
	for _, shared := range []string{"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"} {
		if _, err := os.Stat(shared); err == nil {
			out = append(out, shared)
		}
	}
	nodes, _ := filepath.Glob("/sys/bus/pci/devices/" + g.busID + "/drm/renderD*")
	for _, node := range nodes {
		out = append(out, "/dev/dri/"+filepath.Base(node))
	}
	return out
}
