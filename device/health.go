package device

import (
	"context"
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// programXids are errors that a program causes: the GPU goes on working for others. From NVIDIA's
// documentation of Xid errors.
var programXids = map[uint64]bool{
	13: true, 31: true, 43: true, 45: true, 68: true, 109: true,
}

const (
	// eventWait is how long one wait for an event takes at most, and so the end of watch.
	eventWait = time.Second
	// watchPause is how long watch waits after NVML refused something.
	watchPause = time.Second
)

// watch waits for critical errors of all GPUs until ctx ends.
func (p *Plugin) watch(ctx context.Context) {
	for ctx.Err() == nil {
		p.watchOnce(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// watchOnce returns when a GPU came, or something failed.
func (p *Plugin) watchOnce(ctx context.Context) {
	p.using.RLock()
	defer p.using.RUnlock()
	p.mu.Lock()
	started, gpus := p.started, make([]gpu, 0, len(p.gpus))
	for uuid, g := range p.gpus {
		if p.lost[uuid] == "" {
			gpus = append(gpus, g)
		}
	}
	p.mu.Unlock()
	if !started || len(gpus) == 0 {
		return
	}
	set, ret := p.nvml.EventSetCreate()
	if ret != nvml.SUCCESS {
		p.say("events", "critical errors of GPUs are not watched", "error", ret)
		return
	}
	defer set.Free()
	byHandle := map[nvml.Device]gpu{}
	for _, g := range gpus {
		byHandle[g.handle] = g
		if ret := g.handle.RegisterEvents(nvml.EventTypeXidCriticalError, set); ret != nvml.SUCCESS {
			p.say("events of "+g.uuid, "critical errors of a GPU are not watched", "gpu", g.uuid, "error", ret)
		}
	}
	for ctx.Err() == nil && p.count() == len(gpus) {
		event, ret := set.Wait(uint32(eventWait.Milliseconds()))
		switch {
		case ret == nvml.ERROR_TIMEOUT:
		case ret != nvml.SUCCESS:
			// Most often a GPU was lost: the next look says which.
			p.say("wait", "wait for critical errors of GPUs", "error", ret)
			p.again()
			return
		case event.EventType != nvml.EventTypeXidCriticalError || programXids[event.EventData]:
			p.log.Info("a GPU reported an error of a program", "xid", event.EventData)
		default:
			g, known := byHandle[event.Device]
			p.fail(g.uuid, known, fmt.Sprintf("the GPU reported the critical error Xid %d: reset it or restart the node", event.EventData))
		}
	}
}

// count is how many GPUs NVML reaches.
func (p *Plugin) count() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uuid := range p.gpus {
		if p.lost[uuid] == "" {
			n++
		}
	}
	return n
}

// fail marks a GPU as unhealthy; all of them if nobody knows which one failed.
func (p *Plugin) fail(uuid string, known bool, why string) {
	p.log.Error("a GPU failed", "gpu", uuid, "reason", why)
	p.mu.Lock()
	for each := range p.gpus {
		if each == uuid || !known {
			p.failed[each] = why
		}
	}
	p.mu.Unlock()
	p.again()
}

// again has the fingerprint look at once.
func (p *Plugin) again() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
