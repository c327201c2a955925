// Package devicetest is NVML with GPUs that a file describes, for tests: the plugin runs in a
// process of its own, and what its GPUs do changes with the file.
//
//	devicetest.Write(t, file, devicetest.GPUs{{UUID: "GPU-0", Name: "NVIDIA L4", Bus: 0x3b, MiB: 23034}, …})
//	device.New(log, devicetest.NVML(file))
//
// It is NVIDIA's own mock. What the plugin does not call, it does not have. It panics where a handle or an event set is
// used after Shutdown.
package devicetest

import (
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/google/renameio/v2"
)

// GPU is one that the file describes.
type GPU struct {
	UUID, Name string
	Bus, Minor int
	MiB        uint64
	Lost, MIG  bool
	Xid        uint64 // a critical error that it reports, once
	// Busy and Encodes are per cent, and Sessions those of its encoder; where all are 0, 37, 21 and 2.
	Busy, Encodes uint32
	Sessions      int
	// Module, of the first GPU, is how often the kernel module was loaded anew, and -1 while it is not. NVML that was
	// started before does not answer any more.
	Module int
}

// GPUs are all of a node. Without any, the library is missing.
type GPUs []GPU

// Write writes the file.
func Write(t testing.TB, file string, gpus GPUs) {
	t.Helper()
	b, err := json.Marshal(gpus)
	if err == nil {
		err = renameio.WriteFile(file, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(file string) (gpus GPUs) {
	if b, err := os.ReadFile(file); err != nil || json.Unmarshal(b, &gpus) != nil {
		return nil
	}
	return gpus
}

type node struct {
	file string

	mu       sync.Mutex
	starts   int
	live     bool // since the last start
	module   int  // as of the last start
	handles  map[string]*mock.Device
	reported map[string]bool
}

func moduleOf(gpus GPUs) int {
	if len(gpus) == 0 {
		return 0
	}
	return gpus[0].Module
}

func (n *node) init() nvml.Return {
	gpus := read(n.file)
	switch {
	case len(gpus) == 0:
		return nvml.ERROR_LIBRARY_NOT_FOUND
	case moduleOf(gpus) < 0:
		return nvml.ERROR_DRIVER_NOT_LOADED
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.starts++
	n.live, n.module, n.handles = true, moduleOf(gpus), map[string]*mock.Device{}
	return nvml.SUCCESS
}

func (n *node) shutdown() nvml.Return {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.live {
		return nvml.ERROR_UNINITIALIZED
	}
	n.live = false
	return nvml.SUCCESS
}

// answers reports whether the library does.
func (n *node) answers(gpus GPUs) nvml.Return {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.live:
		return nvml.ERROR_UNINITIALIZED
	case n.module != moduleOf(gpus):
		return nvml.ERROR_UNKNOWN
	}
	return nvml.SUCCESS
}

// since panics where what was made after so many starts is used after Shutdown.
func (n *node) since(starts int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.live || n.starts != starts {
		panic("a handle or an event set of NVML is used after Shutdown")
	}
}

// NVML is a library with the GPUs of the file.
func NVML(file string) nvml.Interface {
	n := &node{file: file, handles: map[string]*mock.Device{}, reported: map[string]bool{}}
	return &mock.Interface{
		InitFunc:                   n.init,
		ShutdownFunc:               n.shutdown,
		SystemGetDriverVersionFunc: func() (string, nvml.Return) { return "580.65.06", n.answers(read(file)) },
		DeviceGetCountFunc:         func() (int, nvml.Return) { gpus := read(file); return len(gpus), n.answers(gpus) },
		DeviceGetHandleByIndexFunc: func(i int) (nvml.Device, nvml.Return) {
			gpus := read(file)
			ret := n.answers(gpus)
			switch {
			case ret != nvml.SUCCESS:
				return nil, ret
			case i >= len(gpus):
				return nil, nvml.ERROR_INVALID_ARGUMENT
			case gpus[i].Lost:
				return nil, nvml.ERROR_GPU_IS_LOST
			}
			return n.handle(gpus[i].UUID), nvml.SUCCESS
		},
		EventSetCreateFunc: func() (nvml.EventSet, nvml.Return) {
			if ret := n.answers(read(file)); ret != nvml.SUCCESS {
				return nil, ret
			}
			starts := n.started()
			return &mock.EventSet{
				WaitFunc: func(ms uint32) (nvml.EventData, nvml.Return) { return n.wait(starts, ms) },
				FreeFunc: func() nvml.Return { n.since(starts); return nvml.SUCCESS },
			}, nvml.SUCCESS
		},
	}
}

func (n *node) started() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.starts
}

// wait gives the first error that was not reported yet.
func (n *node) wait(starts int, ms uint32) (nvml.EventData, nvml.Return) {
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
		n.since(starts)
		for _, g := range read(n.file) {
			n.mu.Lock()
			fresh := g.Xid != 0 && !n.reported[g.UUID]
			n.reported[g.UUID] = n.reported[g.UUID] || fresh
			n.mu.Unlock()
			if fresh {
				return nvml.EventData{Device: n.handle(g.UUID), EventType: nvml.EventTypeXidCriticalError, EventData: g.Xid}, nvml.SUCCESS
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nvml.EventData{}, nvml.ERROR_TIMEOUT
}

// handle is the same for each question after one start, as NVML's is.
func (n *node) handle(uuid string) *mock.Device {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handles[uuid] == nil {
		n.handles[uuid] = n.device(uuid, n.starts)
	}
	return n.handles[uuid]
}

func (n *node) device(uuid string, starts int) *mock.Device {
	now := func() (GPU, nvml.Return) {
		n.since(starts)
		gpus := read(n.file)
		if ret := n.answers(gpus); ret != nvml.SUCCESS {
			return GPU{}, ret
		}
		for _, g := range gpus {
			if g.UUID == uuid && !g.Lost {
				if g.Busy == 0 && g.Encodes == 0 && g.Sessions == 0 {
					g.Busy, g.Encodes, g.Sessions = 37, 21, 2
				}
				return g, nvml.SUCCESS
			}
		}
		return GPU{}, nvml.ERROR_GPU_IS_LOST
	}
	return &mock.Device{
		GetUUIDFunc: func() (string, nvml.Return) { g, ret := now(); return g.UUID, ret },
		GetNameFunc: func() (string, nvml.Return) { g, ret := now(); return g.Name, ret },
		GetMigModeFunc: func() (int, int, nvml.Return) {
			if g, _ := now(); g.MIG {
				return nvml.DEVICE_MIG_ENABLE, nvml.DEVICE_MIG_ENABLE, nvml.SUCCESS
			}
			return 0, 0, nvml.ERROR_NOT_SUPPORTED
		},
		GetMemoryInfoFunc: func() (nvml.Memory, nvml.Return) {
			g, ret := now()
			return nvml.Memory{Total: g.MiB << 20, Used: g.MiB << 19, Free: g.MiB << 19}, ret
		},
		GetPciInfoFunc:     func() (nvml.PciInfo, nvml.Return) { g, ret := now(); return nvml.PciInfo{Bus: uint32(g.Bus)}, ret },
		GetMinorNumberFunc: func() (int, nvml.Return) { g, ret := now(); return g.Minor, ret },
		RegisterEventsFunc: func(uint64, nvml.EventSet) nvml.Return { _, ret := now(); return ret },
		GetUtilizationRatesFunc: func() (nvml.Utilization, nvml.Return) {
			g, ret := now()
			return nvml.Utilization{Gpu: g.Busy}, ret
		},
		GetEncoderUtilizationFunc: func() (uint32, uint32, nvml.Return) { g, ret := now(); return g.Encodes, 0, ret },
		GetEncoderStatsFunc:       func() (int, uint32, uint32, nvml.Return) { g, ret := now(); return g.Sessions, 0, 0, ret },
	}
}
