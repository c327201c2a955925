package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// quota is a cgroup that limits the processor time of the processes in it. The nil value
// limits nothing.
type quota struct{ dir string }

const quotaPeriod = 100_000 // µs

// newQuota makes a cgroup for a number of processors.
func newQuota(processors float64) (*quota, error) {
	name := fmt.Sprintf("nearcast-hostile-%d", os.Getpid())
	limit := strconv.Itoa(int(processors * quotaPeriod))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		q := &quota{filepath.Join("/sys/fs/cgroup", name)}
		return q.make(map[string]string{"cpu.max": limit + " " + strconv.Itoa(quotaPeriod)})
	}
	q := &quota{filepath.Join("/sys/fs/cgroup/cpu", name)}
	return q.make(map[string]string{"cpu.cfs_period_us": strconv.Itoa(quotaPeriod), "cpu.cfs_quota_us": limit})
}

func (q *quota) make(files map[string]string) (*quota, error) {
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(q.dir, name), []byte(text), 0o644); err != nil {
			return nil, errors.Join(err, os.Remove(q.dir))
		}
	}
	return q, nil
}

// add puts a process into the cgroup.
func (q *quota) add(pid int) error {
	if q == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(q.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// remove removes the cgroup; its processes have ended.
func (q *quota) remove() {
	if q == nil {
		return
	}
	if err := os.Remove(q.dir); err != nil {
		say("cannot remove a cgroup: %v", err)
	}
}
