package device

import (
	"errors"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// gpu is one GPU as NVML tells of it.
type gpu struct {
	uuid, model string
	busID       string // as the kernel writes it: 0000:3b:00.0
	minor       int    // of its file /dev/nvidiaN
	memory      uint64 // bytes
	driver      string
	handle      nvml.Device
}

// errNoGPUs says that the node has nothing to offer, which is no failure.
var errNoGPUs = errors.New("no GPU is offered")

// restarts are answers about a GPU that may be others once NVML was started again.
var restarts = []nvml.Return{nvml.ERROR_GPU_IS_LOST, nvml.ERROR_UNINITIALIZED, nvml.ERROR_DRIVER_NOT_LOADED, nvml.ERROR_UNKNOWN}

// find asks NVML for all GPUs. One that cannot be reached is not among them.
func (p *Plugin) find() ([]gpu, error) {
	if err := p.init(); err != nil {
		return nil, err
	}
	n, ret := p.nvml.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("count GPUs: %w", ret)
	}
	version, ret := p.nvml.SystemGetDriverVersion()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("ask for the driver's version: %w", ret)
	}
	var all []gpu
	var failed error // of the last one that does not answer
	for i := range n {
		g, err := p.read(i)
		if err != nil {
			p.say(fmt.Sprintf("gpu %d", i), "a GPU is left out", "index", i, "error", err)
			for _, of := range restarts {
				if errors.Is(err, of) {
					failed = err
				}
			}
			continue
		}
		g.driver = version
		all = append(all, g)
	}
	if len(all) == 0 && failed != nil { // NVML still tells what it knows from its start
		return nil, fmt.Errorf("no GPU answers (of %d): %w", n, failed)
	}
	return all, nil
}

// init loads the library and starts it, if that is yet to be done.
func (p *Plugin) init() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		return nil
	}
	switch ret := p.nvml.Init(); ret {
	case nvml.SUCCESS:
		p.started = true
		return nil
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return fmt.Errorf("%w: NVIDIA's library libnvidia-ml.so.1 is not on this node (Debian: apt-get install libnvidia-ml1, or nvidia-driver)", errNoGPUs)
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return fmt.Errorf("%w: NVIDIA's kernel module is not loaded", errNoGPUs)
	default:
		return fmt.Errorf("%w: start NVML: %w", errNoGPUs, ret)
	}
}

func (p *Plugin) read(index int) (g gpu, err error) {
	var ret nvml.Return
	if g.handle, ret = p.nvml.DeviceGetHandleByIndex(index); ret != nvml.SUCCESS {
		return g, fmt.Errorf("open: %w", ret)
	}
	if g.uuid, ret = g.handle.GetUUID(); ret != nvml.SUCCESS {
		return g, fmt.Errorf("ask for its UUID: %w", ret)
	}
	if mode, _, ret := g.handle.GetMigMode(); ret == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE {
		return g, fmt.Errorf("%s is in MIG mode, which seats cannot use: switch it off with nvidia-smi -mig 0", g.uuid)
	}
	name, ret := g.handle.GetName()
	if ret != nvml.SUCCESS {
		return g, fmt.Errorf("ask %s for its name: %w", g.uuid, ret)
	}
	if g.model = modelName(name); g.model == "" {
		return g, fmt.Errorf("%s has no name", g.uuid)
	}
	memory, ret := g.handle.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return g, fmt.Errorf("ask %s for its memory: %w", g.uuid, ret)
	}
	g.memory = memory.Total
	pci, ret := g.handle.GetPciInfo()
	if ret != nvml.SUCCESS {
		return g, fmt.Errorf("ask %s for its bus id: %w", g.uuid, ret)
	}
	g.busID = fmt.Sprintf("%04x:%02x:%02x.0", pci.Domain, pci.Bus, pci.Device)
	if g.minor, ret = g.handle.GetMinorNumber(); ret != nvml.SUCCESS {
		return g, fmt.Errorf("ask %s for its device file: %w", g.uuid, ret)
	}
	return g, nil
}

// look finds all GPUs, and remembers them: one that is not found later was lost. Where NVML does not answer it is
// stopped, and the next look starts it: without that it may never answer again.
func (p *Plugin) look() error {
	p.looking.Lock()
	defer p.looking.Unlock()
	found, err := p.find()
	if errors.Is(err, errNoGPUs) {
		return err
	}
	if err != nil { // NVML answered before: this concerns all
		p.mu.Lock()
		for uuid := range p.gpus {
			p.lost[uuid] = fmt.Sprintf("NVML does not answer: %v", err)
		}
		p.mu.Unlock()
		p.stop()
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = map[string]string{}
	for uuid := range p.gpus {
		p.lost[uuid] = "the GPU is lost: NVML does not reach it any more"
	}
	for _, g := range found {
		delete(p.lost, g.uuid)
		p.gpus[g.uuid] = g
	}
	return nil
}

// stop stops NVML once nobody uses a handle or an event set: all of them are void then. The caller has said of all GPUs
// that they are lost, and holds looking.
func (p *Plugin) stop() {
	p.using.Lock()
	defer p.using.Unlock()
	if ret := p.nvml.Shutdown(); ret != nvml.SUCCESS {
		p.say("stop", "stop NVML", "error", ret)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = false
}

// sick is why a GPU is unhealthy; empty if it is healthy. The caller holds mu.
func (p *Plugin) sick(uuid string) string {
	if why := p.lost[uuid]; why != "" {
		return why
	}
	return p.failed[uuid]
}
