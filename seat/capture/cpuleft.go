package capture

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// cpuMeter measures how much processor time is left for this process, in processors:
// what the node's processors do not use, of those that the process may run on, and no
// more than the quota of its cgroups leaves. Cgroups are of version 1 or 2.
type cpuMeter struct {
	proc   procfs.FS
	groups []cpuGroup
	at     time.Time
	idle   float64 // seconds, of all processors that the process may use
}

// cpuGroup is a cgroup with a quota.
type cpuGroup struct {
	dir       string
	v2        bool
	used      time.Duration
	throttled int64 // periods
}

func newCPUMeter() *cpuMeter {
	m := &cpuMeter{groups: cpuGroups("/proc/self/cgroup", "/sys/fs/cgroup")}
	m.proc, _ = procfs.NewDefaultFS()
	return m
}

// left is the mean since the last call; ok is false for the first one, and where the
// node does not tell.
func (m *cpuMeter) left(now time.Time) (processors float64, ok bool) {
	stat, err := m.proc.Stat()
	if err != nil {
		return 0, false
	}
	var may unix.CPUSet
	all := unix.SchedGetaffinity(0, &may) != nil
	idle := 0.0
	for n, cpu := range stat.CPU {
		if all || may.IsSet(int(n)) {
			idle += cpu.Idle + cpu.Iowait
		}
	}
	past := now.Sub(m.at)
	processors = (idle - m.idle) / past.Seconds()
	ok = !m.at.IsZero() && past > 0
	for i := range m.groups {
		if left, limited := m.groups[i].left(past); limited {
			processors = min(processors, left)
		}
	}
	m.at, m.idle = now, idle
	return max(processors, 0), ok
}

// cpuGroups lists the cgroups of a process that can have a quota, the process's own
// first.
func cpuGroups(list, root string) (groups []cpuGroup) {
	text, err := os.ReadFile(list)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		// 4:cpu,cpuacct:/path for version 1, 0::/path for version 2.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		v2 := fields[0] == "0" && fields[1] == ""
		mounts := []string{root, filepath.Join(root, "unified")}
		if !v2 {
			if !hasController(fields[1], "cpu") {
				continue
			}
			mounts = []string{filepath.Join(root, fields[1]), filepath.Join(root, "cpu")}
		}
		for _, mount := range mounts {
			if _, err := os.Stat(filepath.Join(mount, fields[2])); err != nil {
				continue
			}
			for path := filepath.Clean("/" + fields[2]); ; path = filepath.Dir(path) {
				groups = append(groups, cpuGroup{dir: filepath.Join(mount, path), v2: v2})
				if path == "/" {
					break
				}
			}
			break
		}
	}
	return groups
}

func hasController(list, name string) bool {
	for controller := range strings.SplitSeq(list, ",") {
		if controller == name {
			return true
		}
	}
	return false
}

// left is what the quota leaves, in processors. A cgroup that had to wait since the last
// call has nothing left.
func (g *cpuGroup) left(past time.Duration) (processors float64, limited bool) {
	quota, period := g.quota()
	if quota <= 0 || period <= 0 {
		return 0, false
	}
	stat := g.stat()
	used, throttled := time.Duration(stat["usage_usec"])*time.Microsecond, stat["nr_throttled"]
	if !g.v2 {
		used = time.Duration(g.number("cpuacct.usage"))
	}
	usedBefore, throttledBefore := g.used, g.throttled
	g.used, g.throttled = used, throttled
	if throttled > throttledBefore || past <= 0 {
		return 0, true
	}
	return float64(quota)/float64(period) - (used-usedBefore).Seconds()/past.Seconds(), true
}

// quota is how long the cgroup may run in each period, in µs; 0 is for ever.
func (g *cpuGroup) quota() (quota, period int64) {
	if !g.v2 {
		return g.number("cpu.cfs_quota_us"), g.number("cpu.cfs_period_us")
	}
	text, _ := os.ReadFile(filepath.Join(g.dir, "cpu.max"))
	if fields := strings.Fields(string(text)); len(fields) == 2 && fields[0] != "max" {
		quota, _ = strconv.ParseInt(fields[0], 10, 64)
		period, _ = strconv.ParseInt(fields[1], 10, 64)
	}
	return quota, period
}

func (g *cpuGroup) stat() map[string]int64 {
	text, _ := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	values := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			values[name], _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return values
}

// number reads a file with one number; 0 where there is none.
func (g *cpuGroup) number(file string) int64 {
	text, _ := os.ReadFile(filepath.Join(g.dir, file))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}
