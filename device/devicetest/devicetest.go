// Package devicetest is NVML with GPUs that a file describes, for tests: the plugin runs in a
// process of its own, and what its GPUs do changes with the file.
//
//	devicetest.Write(t, file, devicetest.GPUs{{UUID: "GPU-0", Name: "NVIDIA L4", Bus: 0x3b, MiB: 23034}, …})
//	device.New(log, devicetest.NVML(file))
//
// It is NVIDIA's own mock. What the plugin does not call, it does not have.
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
	handles  map[string]*mock.Device
	reported map[string]bool
}

// NVML is a library with the GPUs of the file.
func NVML(file string) nvml.Interface {
	n := &node{file: file, handles: map[string]*mock.Device{}, reported: map[string]bool{}}
	return &mock.Interface{
		InitFunc: func() nvml.Return {
			if len(read(file)) == 0 {
				return nvml.ERROR_LIBRARY_NOT_FOUND
			}
			return nvml.SUCCESS
		},
		SystemGetDriverVersionFunc: func() (string, nvml.Return) { return "580.65.06", nvml.SUCCESS },
		DeviceGetCountFunc:         func() (int, nvml.Return) { return len(read(file)), nvml.SUCCESS },
		DeviceGetHandleByIndexFunc: func(i int) (nvml.Device, nvml.Return) {
			gpus := read(file)
			switch {
			case i >= len(gpus):
				return nil, nvml.ERROR_INVALID_ARGUMENT
			case gpus[i].Lost:
				return nil, nvml.ERROR_GPU_IS_LOST
			}
			return n.handle(gpus[i].UUID), nvml.SUCCESS
		},
		EventSetCreateFunc: func() (nvml.EventSet, nvml.Return) {
			return &mock.EventSet{WaitFunc: n.wait, FreeFunc: func() nvml.Return { return nvml.SUCCESS }}, nvml.SUCCESS
		},
	}
}

// wait gives the first error that was not reported yet.
func (n *node) wait(ms uint32) (nvml.EventData, nvml.Return) {
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
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

// handle is the same for each question, as NVML's is.
func (n *node) handle(uuid string) *mock.Device {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handles[uuid] == nil {
		n.handles[uuid] = n.device(uuid)
	}
	return n.handles[uuid]
}

func (n *node) device(uuid string) *mock.Device {
	now := func() (GPU, nvml.Return) {
		for _, g := range read(n.file) {
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
