package cell

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/procfs"
)

// ProcessStat reads /proc/PID/stat. It returns false for a process that is gone or a
// zombie.
func ProcessStat(pid int) (procfs.ProcStat, bool) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, false
	}
	stat, err := p.Stat()
	return stat, err == nil && stat.State != "Z" && stat.State != "X"
}

// Descendants lists the processes below pid, without pid itself and without those in
// except and below them. It is not a snapshot: processes start and end while it reads
// /proc.
func Descendants(pid int, except map[int]bool) []procfs.ProcStat {
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	children := map[int][]procfs.ProcStat{}
	for _, p := range processes {
		if stat, ok := ProcessStat(p.PID); ok && !except[p.PID] {
			children[stat.PPID] = append(children[stat.PPID], stat)
		}
	}
	var all []procfs.ProcStat
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		for _, child := range children[next[0]] {
			all = append(all, child)
			next = append(next, child.PID)
		}
	}
	slices.SortFunc(all, func(a, b procfs.ProcStat) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// Children lists the children of pid, zombies too.
func Children(pid int) (pids []int) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	for _, p := range processes {
		if stat, err := p.Stat(); err == nil && stat.PPID == pid {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// fromNamespace returns the pid, in this process's namespace, of the process that has
// the pid inner in the namespace whose first process is first. It returns 0 if the
// process is gone.
func fromNamespace(first, inner int) int {
	for _, stat := range Descendants(first, nil) {
		p, err := procfs.NewProc(stat.PID)
		if err != nil {
			continue
		}
		status, err := p.NewStatus()
		if ids := status.NSpids; err == nil && len(ids) > 1 && ids[len(ids)-1] == uint64(inner) {
			return stat.PID
		}
	}
	return 0
}

// CPUTime is a process's processor time and that of the children it waited for.
func CPUTime(stat procfs.ProcStat) time.Duration {
	ticks := int(stat.UTime+stat.STime) + stat.CUTime + stat.CSTime
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ, 100 on every architecture
}
