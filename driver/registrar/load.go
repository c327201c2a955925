package registrar

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
	idle, busy float64 // seconds of all CPUs, at the last look
	class      wire.LoadClass
}

func newMeter() *meter {
	fs, _ := procfs.NewDefaultFS()
	return &meter{fs: fs, class: wire.LoadCalm}
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
	n.GPU = gpuLoad("/sys/class/drm")
	m.class = classOf(max(n.CPU, n.Memory, n.GPU), m.class)
	n.Class = m.class
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
