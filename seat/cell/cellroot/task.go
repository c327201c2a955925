package cellroot

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// TaskMode is the mode of the task's directory in a cell, which belongs to the seat's user.
const TaskMode = 0o755

// showTask shows the task's directory. What the app writes there goes to the writable
// file system.
func (b *builder) showTask() error {
	upper, work := filepath.Join(b.scratch, "task"), filepath.Join(b.scratch, "task.work")
	mode := uint32(TaskMode)
	if b.Closed {
		mode = 0
	}
	if err := errors.Join(b.makeDir(upper, mode, !b.Closed), b.makeDir(work, 0o700, false)); err != nil {
		return err
	}
	// The directories in which Nomad lets a task write.
	for _, name := range []string{"local", "tmp"} {
		if info, err := os.Lstat(filepath.Join(b.TaskDir, name)); err == nil && info.IsDir() {
			if err := b.makeDir(filepath.Join(upper, name), 0o755, true); err != nil {
				return err
			}
		}
	}
	at, err := b.mountPoint(b.TaskDir, true)
	if err != nil {
		return err
	}
	if err := overlay(b.TaskDir, upper, work, at); err != nil {
		return err
	}
	if b.Closed {
		if b.closed, err = os.OpenFile(at, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
			return err
		}
	}
	// An overlay does not show the file systems that are mounted in its lower part,
	// such as Nomad's directory for secrets.
	mounts, err := mountsBelow(b.TaskDir)
	if err != nil {
		return err
	}
	for _, path := range mounts {
		at, err := b.mountPoint(path, true)
		if err != nil {
			return err
		}
		if err := bind(path, at, readOnly); err != nil {
			return err
		}
	}
	// Nomad's API for this task. An app must not manage the site.
	if err := b.cover(filepath.Join(b.TaskDir, "secrets", "api.sock")); err != nil {
		return err
	}
	if b.SharedDir == "" {
		return nil
	}
	if err := b.show(b.SharedDir); err != nil {
		return err
	}
	return b.cover(filepath.Join(b.SharedDir, "logs"))
}
