package dev

import (
	"os"

	"github.com/prometheus/procfs"
)

// startTicks is when a process started, in clock ticks since boot. A process that
// has exited has no start time, also while its parent has not waited for it.
func startTicks(pid int) (uint64, error) {
	stat, err := statOf(pid)
	if err == nil && (stat.State == "Z" || stat.State == "X") {
		err = os.ErrProcessDone
	}
	return stat.Starttime, err
}

func statOf(pid int) (procfs.ProcStat, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return p.Stat()
}

// alive reports whether the process with this pid and start time is alive.
func alive(pid int, started uint64) bool {
	if pid <= 0 {
		return false
	}
	ticks, err := startTicks(pid)
	return err == nil && ticks == started
}

// ancestors are this process, its parent, its parent's parent and so on.
func ancestors() []int {
	pids := []int{os.Getpid()}
	for pid := os.Getppid(); pid > 1; {
		pids = append(pids, pid)
		stat, err := statOf(pid)
		if err != nil {
			break
		}
		pid = stat.PPID
	}
	return pids
}
