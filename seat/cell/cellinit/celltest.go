//go:build celltest

package cellinit

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// showProcesses shows the processes of a cell's pid namespace in the node's file system, for
// tests of what a root of its own defends.
func showProcesses(s Spec) error {
	if !s.OwnPids {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}
