package driver

import (
	"context"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
)

// cpuInfo is the node's compute, as Nomad measured it.
type cpuInfo struct {
	mhz   float64 // of all cores together
	cores int
}

// A meter measures what a seat uses: from its cgroup where that is of version 2,
// else from /proc, as the sum of its processes.
type meter struct {
	nonce string
	group cgroup
	cpu   cpuInfo

	known map[procID]bool
	// CPU time of ended processes whose parent did not inherit it. Without it
	// the sum would fall.
	lostUser, lostSystem time.Duration

	last   usage
	lastAt time.Time
}

// usage has cumulative times.
type usage struct {
	user, system, throttled time.Duration
	throttledPeriods        int64
	rss, cache, swap, total int64
	pids                    int
}

// follow measures at every interval until the task is done or ctx ends.
func (m *meter) follow(ctx context.Context, done <-chan struct{}, interval time.Duration) <-chan *drivers.TaskResourceUsage {
	out := make(chan *drivers.TaskResourceUsage)
	go func() {
		defer close(out)
		m.last, m.lastAt = m.read(), time.Now()
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-done:
				return
			case <-ticks.C:
			}
			select {
			case out <- m.measure(time.Now()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// measure is the use since the last measurement, in Nomad's units: percent of one
// core, and MHz as in the node's compute.
func (m *meter) measure(now time.Time) *drivers.TaskResourceUsage {
	u := m.read()
	elapsed := now.Sub(m.lastAt)
	percent := func(now, before time.Duration) float64 {
		if elapsed <= 0 {
			return 0
		}
		return 100 * float64(max(0, now-before)) / float64(elapsed)
	}
	user, system := percent(u.user, m.last.user), percent(u.system, m.last.system)
	ticks := 0.0
	if m.cpu.cores > 0 {
		ticks = (user + system) / 100 * m.cpu.mhz / float64(m.cpu.cores)
	}
	m.last, m.lastAt = u, now
	return &drivers.TaskResourceUsage{
		Timestamp: now.UTC().UnixNano(),
		ResourceUsage: &drivers.ResourceUsage{
			CpuStats: &drivers.CpuStats{
				UserMode: user, SystemMode: system, Percent: user + system, TotalTicks: ticks,
				ThrottledPeriods: uint64(u.throttledPeriods), ThrottledTime: uint64(u.throttled),
				Measured: []string{"System Mode", "User Mode", "Percent", "Throttled Periods", "Throttled Time"},
			},
			MemoryStats: &drivers.MemoryStats{
				RSS: uint64(u.rss), Cache: uint64(u.cache), Swap: uint64(u.swap), Usage: uint64(u.total),
				Measured: []string{"RSS", "Cache", "Swap", "Usage"},
			},
		},
	}
}

func (m *meter) read() usage {
	if m.group.v2 == "" {
		return m.readProc()
	}
	cpu := keyed(m.group.v2, "cpu.stat")
	u := usage{
		user:             time.Duration(cpu["user_usec"]) * time.Microsecond,
		system:           time.Duration(cpu["system_usec"]) * time.Microsecond,
		throttled:        time.Duration(cpu["throttled_usec"]) * time.Microsecond,
		throttledPeriods: cpu["nr_throttled"],
	}
	total, ok := number(m.group.v2, "memory.current")
	if !ok { // this cgroup has no memory controller
		p := m.readProc()
		u.rss, u.total, u.pids = p.rss, p.total, p.pids
		return u
	}
	mem := keyed(m.group.v2, "memory.stat")
	u.total, u.rss, u.cache = total, mem["anon"], mem["file"]
	u.swap, _ = number(m.group.v2, "memory.swap.current")
	return u
}

func (m *meter) readProc() usage {
	all, err := processes()
	if err != nil {
		return m.last
	}
	return m.sum(family(all, mark{nonce: m.nonce}, m.known))
}

// sum adds up the processes of the seat. When one ends, the parent that waits for
// it inherits its time. Where nobody waits, the sum falls, and the difference is
// added to the lost time.
func (m *meter) sum(seat []process) usage {
	m.known = make(map[procID]bool, len(seat))
	u := usage{user: m.lostUser, system: m.lostSystem, pids: len(seat)}
	for _, p := range seat {
		m.known[p.id()] = true
		u.user += p.user
		u.system += p.system
		u.rss += p.rss
	}
	if fell := m.last.user - u.user; fell > 0 {
		m.lostUser += fell
		u.user += fell
	}
	if fell := m.last.system - u.system; fell > 0 {
		m.lostSystem += fell
		u.system += fell
	}
	u.total = u.rss
	return u
}
