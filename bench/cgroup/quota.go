// Package cgroup limits the processor time of processes that a benchmark starts, so that what
// plays the world does not have to be ten times as fast as what is measured:
//
//	q, err := cgroup.NewQuota("plateau", 0.25, 10*time.Millisecond) // a quarter of a processor
//	err = q.Add(pid)                                                // and its threads and children
//	err = q.Remove()                                                // once they have ended
//
// It needs root. It knows both versions of cgroups.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Quota is a cgroup that limits the processor time of the processes in it. The nil value
// limits nothing.
type Quota struct{ dir string }

// NewQuota makes a cgroup for a number of processors. What is used up is there again after
// each period: a short one lets the processes wait less at a time, and costs more.
func NewQuota(name string, processors float64, period time.Duration) (*Quota, error) {
	name = fmt.Sprintf("nearcast-%s-%d", name, os.Getpid())
	each := strconv.FormatInt(period.Microseconds(), 10)
	limit := strconv.Itoa(int(processors * float64(period.Microseconds())))
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		q := &Quota{filepath.Join("/sys/fs/cgroup", name)}
		return q.make([][2]string{{"cpu.max", limit + " " + each}})
	}
	q := &Quota{filepath.Join("/sys/fs/cgroup/cpu", name)}
	return q.make([][2]string{{"cpu.cfs_period_us", each}, {"cpu.cfs_quota_us", limit}})
}

func (q *Quota) make(files [][2]string) (*Quota, error) {
	if err := os.Mkdir(q.dir, 0o755); err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(q.dir, file[0]), []byte(file[1]), 0o644); err != nil {
			return nil, errors.Join(err, os.Remove(q.dir))
		}
	}
	return q, nil
}

// Add puts a process into the cgroup.
func (q *Quota) Add(pid int) error {
	if q == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(q.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// Remove removes the cgroup; its processes have ended.
func (q *Quota) Remove() error {
	if q == nil {
		return nil
	}
	if err := os.Remove(q.dir); err != nil {
		return fmt.Errorf("remove a cgroup: %w", err)
	}
	return nil
}
