package driver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// A cgroup is the task's, made and removed by Nomad; the driver divides it into parts.
// Nomad gives one path. In version 1 it is in the cpuset hierarchy and may be shared with
// other tasks; the task's own cgroups are in the other hierarchies. The zero value is no
// cgroup, as with an agent without root.
type cgroup struct {
	v2 string   // directory of the task's cgroup
	v1 []string // directories that take the task's processes, but for cpu
	// cpu is the directory that has the parts: v2, or that of version 1's cpu.
	cpu string
	// freezer, of version 1, has the task's processes and no others.
	freezer string
}

// taskCgroup finds a task's cgroup. Parts that cannot be found are left out: their
// limits are lost, but the mark in the environment still finds every process.
func taskCgroup(cfg *drivers.TaskConfig) cgroup {
	if cfg.Resources == nil || cfg.Resources.LinuxResources == nil {
		return cgroup{}
	}
	return findCgroup(cfg.Resources.LinuxResources.CpusetCgroupPath, cfg.AllocID+"."+cfg.Name)
}

func findCgroup(path, scope string) cgroup {
	if path == "" {
		return cgroup{}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return cgroup{}
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		if !strings.Contains(filepath.Base(path), scope) {
			return cgroup{} // not this task's: killing it could kill others
		}
		return cgroup{v2: path, cpu: path}
	}
	// Version 1: ROOT/cpuset/PARENT/share, or ROOT/cpuset/PARENT/reserve/SCOPE.
	c := cgroup{v1: []string{path}}
	parent := filepath.Dir(path)
	if filepath.Base(path) == scope {
		parent = filepath.Dir(parent)
	}
	for _, hierarchy := range []string{"freezer", "cpu", "memory"} {
		dir := filepath.Join(strings.Replace(parent, "/cpuset/", "/"+hierarchy+"/", 1), scope)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue
		}
		switch hierarchy {
		case "cpu":
			c.cpu = dir
			continue
		case "freezer":
			c.freezer = dir
		}
		c.v1 = append(c.v1, dir)
	}
	return c
}

// prepare limits and divides the cgroup for a seat, and tells the spec of it.
func (c cgroup) prepare(spec *wire.Spec, res *drivers.Resources) error {
	spec.Memory = c.memory(res)
	limited, divided := c.limit(res, spec.Cell.MaxProcesses), c.divide()
	if c.divided() {
		spec.CellCgroup = c.dir(cellPart)
	}
	return errors.Join(limited, divided)
}

// limit writes the job's resources into the cgroup, which Nomad leaves to drivers.
// processes limits the app; the seat's own get hostProcesses more. Version 1 has no such
// limit here: the limit of the seat's user, which the cell sets, does the same.
func (c cgroup) limit(res *drivers.Resources, processes int) error {
	if res == nil || res.NomadResources == nil || res.LinuxResources == nil {
		return nil
	}
	hard, soft := memoryLimits(res.NomadResources.Memory.MemoryMB, res.NomadResources.Memory.MemoryMaxMB)
	shares := res.LinuxResources.CPUShares
	cpus := res.LinuxResources.CpusetCpus
	if c.v2 != "" {
		most := "max"
		if hard >= 0 {
			most = strconv.FormatInt(hard, 10)
		}
		// Shares of 2…262144 become weights of 1…10000, as systemd and runc do.
		weight := 1 + (min(max(shares, 2), 262144)-2)*9999/262142
		return firstError(
			write(c.v2, "memory.max", most),
			write(c.v2, "memory.low", strconv.FormatInt(soft, 10)),
			write(c.v2, "cpu.weight", strconv.FormatInt(weight, 10)),
			write(c.v2, "cpuset.cpus", cpus),
			write(c.v2, "pids.max", strconv.Itoa(processes+hostProcesses)),
		)
	}
	var errs []error
	if c.cpu != "" && shares > 0 {
		errs = append(errs, write(c.cpu, "cpu.shares", strconv.FormatInt(shares, 10)))
	}
	for _, dir := range c.v1 {
		switch {
		case strings.Contains(dir, "/memory/"):
			errs = append(errs, write(dir, "memory.limit_in_bytes", strconv.FormatInt(hard, 10)))
			if soft > 0 {
				errs = append(errs, write(dir, "memory.soft_limit_in_bytes", strconv.FormatInt(soft, 10)))
			}
		case strings.Contains(dir, "/cpuset/") && strings.Contains(dir, "/reserve/") && cpus != "":
			errs = append(errs, write(dir, "cpuset.cpus", cpus))
		}
	}
	return firstError(errs...)
}

// hostProcesses is far more threads than keeper and stream host have.
const hostProcesses = 512

// memoryLimits are the limit (-1: none) and the reserved part, in bytes.
func memoryLimits(mb, maxMB int64) (hard, soft int64) {
	switch {
	case maxMB < 0:
		return -1, mb << 20
	case maxMB > mb:
		return maxMB << 20, mb << 20
	default:
		return mb << 20, 0
	}
}

// enter moves a process that has not forked yet into a cgroup of version 1. In
// version 2 a process starts in its cgroup, by open.
func (c cgroup) enter(pid int, p part) error {
	if c.v2 != "" {
		return nil
	}
	dirs := c.v1
	if c.cpu != "" {
		dirs = append([]string{c.dir(p)}, dirs...)
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, write(dir, "cgroup.procs", strconv.Itoa(pid)))
	}
	return firstError(errs...)
}

// open is a part's directory of version 2 for SysProcAttr.CgroupFD, or nil.
func (c cgroup) open(p part) (*os.File, error) {
	if c.v2 == "" {
		return nil, nil
	}
	return os.Open(c.dir(p))
}

// kill ends every process in the cgroup, frozen ones too.
func (c cgroup) kill() error {
	if c.v2 != "" {
		err := write(c.v2, "cgroup.kill", "1")
		if os.IsNotExist(err) { // the cgroup is gone, or Linux is older than 5.14: the mark finds the processes
			return nil
		}
		return err
	}
	if c.freezer == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(c.freezer, "cgroup.procs"))
	if err != nil {
		return nil
	}
	for _, f := range bytes.Fields(b) {
		if pid, err := strconv.Atoi(string(f)); err == nil && pid != os.Getpid() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	return write(c.freezer, "freezer.state", "THAWED")
}

// oomKills is how many processes the kernel killed because of the memory limit.
func (c cgroup) oomKills() int64 {
	if c.v2 != "" {
		return keyed(c.v2, "memory.events")["oom_kill"]
	}
	for _, dir := range c.v1 {
		if strings.Contains(dir, "/memory/") {
			return keyed(dir, "memory.oom_control")["oom_kill"]
		}
	}
	return 0
}

// memory is where the kernel tells of the memory limit.
func (c cgroup) memory(res *drivers.Resources) (m wire.Memory) {
	if res == nil || res.NomadResources == nil {
		return m
	}
	hard, _ := memoryLimits(res.NomadResources.Memory.MemoryMB, res.NomadResources.Memory.MemoryMaxMB)
	m.LimitBytes = max(hard, 0)
	if c.v2 != "" {
		m.Events = filepath.Join(c.v2, "memory.events")
	}
	for _, dir := range c.v1 {
		if strings.Contains(dir, "/memory/") {
			m.Events = filepath.Join(dir, "memory.oom_control")
		}
	}
	return m
}

// keyed reads a file with lines "key number". procfs reads no files of a cgroup.
func keyed(dir, file string) map[string]int64 {
	out := map[string]int64{}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return out
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			out[key] = n
		}
	}
	return out
}

// number reads a file with one number; ok is false where there is none.
func number(dir, file string) (n int64, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

func write(dir, file, content string) error {
	// Without O_CREATE: the kernel makes the files of a cgroup.
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return fmt.Errorf("write %s: %w", f.Name(), err)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
