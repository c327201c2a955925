package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// A part is a cgroup below the task's. It divides the task's processor time and nothing
// else: memory, the number of processes and statistics stay those of the task.
type part string

const (
	// hostPart has the keeper and the stream host.
	hostPart part = "stream-host"
	// cellPart has all that the app can keep busy: the cell, Xorg, the app's network, and
	// the commands of "nomad alloc exec".
	cellPart part = "cell"
)

// weights of the parts, by which they share a processor that both of them want. The
// stream host's work has an end, which is that of the picture; an app's may have none.
var weights = map[part]int{hostPart: 400, cellPart: 100}

// divide makes the parts. No process may be in the cgroup: version 2 refuses to divide
// what processes use. After an error the cgroup is undivided.
func (c cgroup) divide() error {
	if c.cpu == "" {
		return nil
	}
	if c.v2 != "" {
		if err := write(c.v2, "cgroup.subtree_control", "+cpu"); err != nil {
			return err
		}
	}
	for p, weight := range weights {
		dir := filepath.Join(c.cpu, string(p))
		file := "cpu.weight"
		if c.v2 == "" {
			file, weight = "cpu.shares", weight*1024/100
		}
		err := os.Mkdir(dir, 0o755)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = write(dir, file, fmt.Sprint(weight))
		}
		if err != nil {
			return errors.Join(err, c.unite(context.Background()))
		}
	}
	return nil
}

// dir is where the processes of a part belong: the task's own directory where it is not
// divided, as with seats of builds before parts.
func (c cgroup) dir(p part) string {
	if c.cpu == "" {
		return ""
	}
	dir := filepath.Join(c.cpu, string(p))
	if _, err := os.Stat(dir); err != nil {
		return c.cpu
	}
	return dir
}

// divided reports whether the cgroup has parts.
func (c cgroup) divided() bool { return c.cpu != "" && c.dir(cellPart) != c.cpu }

// uniteTimeout is how long the threads of processes that were killed may take to leave.
const uniteTimeout = 2 * time.Second

// unite removes the parts, whose processes have ended. Nomad removes the task's cgroup
// with all below it, but may have tried before the last process had ended.
func (c cgroup) unite(ctx context.Context) error {
	if c.cpu == "" {
		return nil
	}
	err := removeParts(ctx, c.cpu)
	if err == nil && c.v2 != "" {
		if err = write(c.v2, "cgroup.subtree_control", "-cpu"); errors.Is(err, fs.ErrNotExist) {
			err = nil // Nomad has removed it
		}
	}
	return err
}

// removeParts removes the parts of the cgroup in dir.
func removeParts(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, uniteTimeout)
	defer cancel()
	for p := range weights {
		for {
			err := unix.Rmdir(filepath.Join(dir, string(p)))
			if err == nil || err == unix.ENOENT {
				break
			}
			if err != unix.EBUSY {
				return fmt.Errorf("remove the cgroup of %s: %w", p, err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove the cgroup of %s: %w", p, err)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// endSeat kills every process of a seat, and removes the parts of its cgroup and its links to the cache. group may
// be none, where Nomad has not told it: the spec has where the parts are.
func endSeat(ctx context.Context, spec *wire.Spec, group cgroup) error {
	if err := killFamily(ctx, markOf(spec), group); err != nil {
		return err
	}
	unlinkContent(ctx, spec)
	if group.cpu != "" {
		return group.unite(ctx)
	}
	if spec.CellCgroup != "" {
		return removeParts(ctx, filepath.Dir(spec.CellCgroup))
	}
	return nil
}
