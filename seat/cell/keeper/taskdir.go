package keeper

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// closedTask opens the task's directory of the cell whose first process is init. No program
// runs there yet, so nothing on the way to it can be another program's.
func closedTask(init int, dir string) (*os.File, error) {
	root, err := cell.OpenPath(fmt.Sprintf("/proc/%d/root", init))
	if err != nil {
		return nil, fmt.Errorf("open the cell's task directory: %w", err)
	}
	defer root.Close()
	fd, err := unix.Openat2(int(root.Fd()), dir, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("open the cell's task directory: %w", &os.PathError{Op: "openat2", Path: dir, Err: err})
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// openTask lets the programs of the cell into the task's directory: all of the content is there.
func (k *keeper) openTask() error {
	if k.closed == nil {
		return nil
	}
	err := errors.Join(k.closed.Chown(k.app.UID, k.app.GID), k.closed.Chmod(cellroot.TaskMode), k.closed.Close())
	k.closed = nil
	if err != nil {
		return fmt.Errorf("give the content to the cell: %w", err)
	}
	return nil
}
