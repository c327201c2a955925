package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// adoptedFile marks a run directory: Nomad has a handle of the start whose nonce
// the file holds. The driver writes it when Nomad first waits for the task, which
// Nomad does after it stored the handle, and when Nomad recovers the task.
const adoptedFile = "adopted"

// An orphan is a seat that nothing else will end: the plugin died after it started
// the stream host and before Nomad stored the handle, and Nomad does not start the
// task again, because the task was stopped meanwhile.
//
// A seat that is still needed must never count as an orphan. It counts as one only
// if this process saw the same start in the run directory for the whole grace,
// without the adopted file, and neither started nor recovered it; and if no person
// uses it. A seat with the adopted file is left to Nomad, which may recover it at
// any time.
type orphan struct {
	nonce string
	since time.Time // when this process saw it first
}

// adopt marks the task's start as known to Nomad.
func (t *task) adopt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.adopted {
		return
	}
	err := writeFile(filepath.Join(t.state.Dir, adoptedFile), []byte(t.state.Nonce))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // already removed
		t.log.Warn("cannot mark the seat as adopted", "error", err)
		return
	}
	t.adopted = true
}

func adopted(dir, nonce string) bool {
	b, err := os.ReadFile(filepath.Join(dir, adoptedFile))
	return err == nil && string(b) == nonce
}

// watchOrphans looks for orphans and ends them until the plugin ends.
func (d *Driver) watchOrphans(runDir string, grace time.Duration) {
	tick := time.NewTicker(grace / 5)
	defer tick.Stop()
	known := map[string]orphan{}
	for {
		if err := d.sweep(runDir, grace, known); err != nil {
			d.log.Warn("cannot look for orphaned seats", "run_dir", runDir, "error", err)
		}
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep looks once. One plugin process at a time sweeps a run directory.
func (d *Driver) sweep(runDir string, grace time.Duration, known map[string]orphan) error {
	root, err := os.Open(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Flock(int(root.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		return fmt.Errorf("lock: %w", err)
	}
	names, err := root.Readdirnames(-1)
	if err != nil {
		return err
	}
	now := time.Now()
	present := map[string]bool{}
	var errs []error
	for _, name := range names {
		dir := filepath.Join(runDir, name)
		spec, err := readSpec(dir)
		if err != nil {
			continue // nothing was started there
		}
		present[dir] = true
		switch seen, ok := known[dir]; {
		case d.holds(dir) || adopted(dir, spec.Nonce):
			delete(known, dir)
		case !ok || seen.nonce != spec.Nonce:
			known[dir] = orphan{spec.Nonce, now}
		case now.Sub(seen.since) >= grace:
			if err := d.endOrphan(dir, seen); err != nil {
				errs = append(errs, fmt.Errorf("end %s: %w", name, err))
			}
		}
	}
	for dir := range known {
		if !present[dir] {
			delete(known, dir)
		}
	}
	return errors.Join(errs...)
}

// endOrphan ends the orphan that was seen, if it still is one.
func (d *Driver) endOrphan(dir string, seen orphan) error {
	defer d.lockRunDir(dir)() // no start or recovery meanwhile
	spec, err := readSpec(dir)
	if err != nil || spec.Nonce != seen.nonce || d.holds(dir) || adopted(dir, seen.nonce) {
		return nil
	}
	c := newControlClient(dir)
	status, err := c.status(d.ctx)
	c.close()
	if err == nil && status.Nonce == seen.nonce && status.State.Busy() {
		d.log.Warn("keeping a seat that Nomad does not know, because a person uses it", "seat", spec.Alloc, "run_dir", dir)
		return nil
	}
	d.log.Warn("ending a seat that Nomad does not know", "seat", spec.Alloc, "app", spec.App, "run_dir", dir,
		"seen_for", short(time.Since(seen.since).Round(time.Second)))
	return reap(d.ctx, dir, cgroup{})
}

// holds reports whether a task of this process owns the run directory.
func (d *Driver) holds(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tasks {
		if t.state.Dir == dir {
			return true
		}
	}
	return false
}
