package main

import (
	"time"

	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/dev"
)

// work is the processor time of a site's processes and of all that they started. What a
// process uses after it was last seen is lost.
type work struct {
	names map[int]string // of the site's own processes, by pid
	since time.Time
	used  map[int]*usage
	clean bool // what is found now was there before
}

type usage struct {
	name        string
	first, last float64 // s
}

func newWork(processes []dev.ProcessStatus) *work {
	w := &work{names: map[int]string{}, since: time.Now(), used: map[int]*usage{}, clean: true}
	for _, p := range processes {
		w.names[p.PID] = p.Name
	}
	w.look()
	w.clean = false
	return w
}

// look notes what each process has used until now.
func (w *work) look() {
	all, err := procfs.AllProcs()
	if err != nil {
		return
	}
	stats := map[int]procfs.ProcStat{}
	for _, p := range all {
		if s, err := p.Stat(); err == nil {
			stats[s.PID] = s
		}
	}
	for pid, s := range stats {
		if !w.ours(pid, stats) {
			continue
		}
		u := w.used[pid]
		if u == nil {
			u = &usage{name: w.names[pid]}
			if u.name == "" {
				u.name = s.Comm
			}
			if w.clean {
				u.first = s.CPUTime()
			}
			w.used[pid] = u
		}
		u.last = s.CPUTime()
	}
}

func (w *work) ours(pid int, stats map[int]procfs.ProcStat) bool {
	for pid > 1 {
		if w.names[pid] != "" {
			return true
		}
		pid = stats[pid].PPID
	}
	return false
}

// cores is how many processors the processes of each name have used in the mean.
func (w *work) cores() map[string]float64 {
	w.look()
	out := map[string]float64{}
	for _, u := range w.used {
		out[u.name] += (u.last - u.first) / time.Since(w.since).Seconds()
	}
	return out
}
