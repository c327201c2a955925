package registrar

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	busyFrom, fullFrom = 0.60, 0.85
	// slack is how far the load must fall below a class's border to leave the class:
	// each change costs a write through Raft.
	slack = 0.05
)

// meter measures what is in use of the node.
type meter struct {
	fs         procfs.FS
	gpus       string  // wire.GPUsFile
	leaving    string  // wire.LeavingFile
	drm        string  // the kernel's GPUs
	idle, busy float64 // seconds of all CPUs, at the last look
	class      wire.LoadClass
}

// newMeter is one for the node of a run directory.
func newMeter(dir string) *meter {
	fs, _ := procfs.NewDefaultFS()
	return &meter{fs: fs, gpus: filepath.Join(dir, wire.GPUsFile), leaving: filepath.Join(dir, wire.LeavingFile), drm: "/sys/class/drm", class: wire.LoadCalm}
}

// node is the load since the last look. What cannot be read counts as nothing.
func (m *meter) node() (n wire.Node) {
	if stat, err := m.fs.Stat(); err == nil {
		c := stat.CPUTotal
		idle := c.Idle + c.Iowait
		busy := c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
		if all := idle - m.idle + busy - m.busy; all > 0 {
			n.CPU = bounded((busy - m.busy) / all)
		}
		m.idle, m.busy = idle, busy
	}
	if info, err := m.fs.Meminfo(); err == nil && info.MemTotal != nil && info.MemAvailable != nil && *info.MemTotal > 0 {
		n.MemoryMB = int(*info.MemTotal >> 10) // of KiB
		n.Memory = bounded(1 - float64(*info.MemAvailable)/float64(*info.MemTotal))
	}
	n.GPU = gpuLoad(m.drm)
	for _, g := range readGPUs(m.gpus, time.Now()) {
		n.GPU = max(n.GPU, bounded(g.Busy), bounded(g.Encoder))
		n.GPUMemory = max(n.GPUMemory, bounded(g.Memory))
		// No part of the class: an idle seat has its session too, and Nomad keeps the limit.
		n.EncoderSessions += max(g.Sessions, 0)
	}
	m.class = classOf(max(n.CPU, n.Memory, n.GPU, n.GPUMemory), m.class)
	if n.Class = m.class; leaving(m.leaving, time.Now()) {
		n.Class = wire.LoadLeaving
	}
	return n
}

func bounded(x float64) float64 { return min(max(x, 0), 1) }

// classOf is the class of a load, given the class before.
func classOf(load float64, was wire.LoadClass) wire.LoadClass {
	switch {
	case load >= fullFrom, was == wire.LoadFull && load >= fullFrom-slack:
		return wire.LoadFull
	case load >= busyFrom, was != wire.LoadCalm && load >= busyFrom-slack:
		return wire.LoadBusy
	}
	return wire.LoadCalm
}

// steadyFor is how long a node must have been calmer before brains are told so: each change sends
// its free seats to all brains, and one that changes all the time helps nobody to choose.
const steadyFor = 30 * time.Second

// steady is a class that rises at once and falls late.
type steady struct {
	told  wire.LoadClass
	since time.Time // since when the node has been calmer; zero while it is not
}

// next is the class to be told after one was measured.
func (s *steady) next(measured wire.LoadClass, now time.Time) wire.LoadClass {
	switch {
	case measured.Rank() >= s.told.Rank():
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = now
		return s.told
	case now.Sub(s.since) < steadyFor:
		return s.told
	}
	s.told, s.since = measured, time.Time{}
	return s.told
}

// tellClass has the feed tell the class of the node's load with each free seat. Brains choose none
// of the others.
func (r *Registrar) tellClass(measured wire.LoadClass, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.load.told
	if r.load.next(measured, now).Rank() == was.Rank() {
		return
	}
	for id, seat := range r.last {
		if seat.State.Free() {
			seat.Load = r.load.told
			r.last[id] = seat
			delete(r.untold, id)
			r.seats.Set(id, seat)
		}
	}
}

// gpuLoad is that of the busiest GPU. Few drivers of the kernel tell it.
func gpuLoad(dir string) (most float64) {
	files, _ := filepath.Glob(filepath.Join(dir, "card*", "device", "gpu_busy_percent"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			if percent, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64); err == nil {
				most = max(most, bounded(percent/100))
			}
		}
	}
	return most
}

// readGPUs reads what the device plugin tells. A node without NVIDIA's GPUs has no such file.
func readGPUs(file string, now time.Time) []wire.GPULoad {
	var said wire.GPUs
	if !readInto(file, &said) || !fresh(said.At, now, wire.GPUsFor) {
		return nil
	}
	return said.GPUs
}

// leaving reports whether the node's drain tells that the cloud advises to leave the node.
func leaving(file string, now time.Time) bool {
	var said wire.Leaving
	return readInto(file, &said) && fresh(said.At, now, wire.LeavingFor)
}

func readInto(file string, said any) bool {
	text, err := os.ReadFile(file)
	return err == nil && json.Unmarshal(text, said) == nil
}

func fresh(at, now time.Time, within time.Duration) bool { return now.Sub(at).Abs() <= within }
