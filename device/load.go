package device

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/google/renameio/v2"

	"github.com/nearcast/nearcast/internal/wire"
)

// tellLoad tells the node's registrar how busy the GPUs are, until ctx ends.
func (p *Plugin) tellLoad(ctx context.Context) {
	tick := time.NewTicker(min(wire.GPUsEvery, p.period))
	defer tick.Stop()
	for {
		if err := p.writeLoad(time.Now()); err != nil {
			p.say("load", "brains are not told how busy the GPUs are", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *Plugin) writeLoad(now time.Time) error {
	dir, gpus := p.loads()
	if dir == "" || len(gpus) == 0 {
		return nil
	}
	said := wire.GPUs{At: now.UTC(), GPUs: gpus}
	text, err := json.Marshal(said)
	if err != nil {
		return fmt.Errorf("encode the load of the GPUs: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the driver's run_dir: %w", err)
	}
	file := filepath.Join(dir, wire.GPUsFile)
	if err := renameio.WriteFile(file, text, 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// loads are those of the GPUs that are healthy, for the driver's run directory.
func (p *Plugin) loads() (dir string, loads []wire.GPULoad) {
	p.using.RLock()
	defer p.using.RUnlock()
	p.mu.Lock()
	dir = p.settings.runDir
	var gpus []gpu
	for uuid, g := range p.gpus {
		if p.sick(uuid) == "" {
			gpus = append(gpus, g)
		}
	}
	p.mu.Unlock()
	slices.SortFunc(gpus, func(a, b gpu) int { return strings.Compare(a.uuid, b.uuid) })
	if dir != "" {
		for _, g := range gpus {
			loads = append(loads, g.load())
		}
	}
	return dir, loads
}

// load leaves out what the GPU does not tell.
func (g gpu) load() wire.GPULoad {
	l := wire.GPULoad{ID: g.uuid}
	if u, ret := g.handle.GetUtilizationRates(); ret == nvml.SUCCESS {
		l.Busy = float64(u.Gpu) / 100
	}
	if u, _, ret := g.handle.GetEncoderUtilization(); ret == nvml.SUCCESS {
		l.Encoder = float64(u) / 100
	}
	if n, _, _, ret := g.handle.GetEncoderStats(); ret == nvml.SUCCESS {
		l.Sessions = n
	}
	if m, ret := g.handle.GetMemoryInfo(); ret == nvml.SUCCESS && m.Total > 0 {
		l.Memory = float64(m.Used) / float64(m.Total)
	}
	return l
}
