package keeper

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// closedTask is the task's directory that a cell's first process passed. As root this process gives
// it to the app's user later, so it must be the cell's own layer and nothing of the node.
func closedTask(files []*os.File) (*os.File, error) {
	if len(files) != 1 {
		closeAll(files)
		return nil, failed(wire.CodeConfig, "make the cell: its first process passed %d files as the task's directory", len(files))
	}
	dir := files[0]
	var st unix.Stat_t
	var fs unix.Statfs_t
	err := errors.Join(unix.Fstat(int(dir.Fd()), &st), unix.Fstatfs(int(dir.Fd()), &fs))
	if err == nil && (st.Mode != unix.S_IFDIR || st.Uid != 0 || fs.Type != unix.OVERLAYFS_SUPER_MAGIC) {
		err = fmt.Errorf("mode %o of user %d in a file system of type %x, want a directory of root with mode 0 in an overlay", st.Mode, st.Uid, fs.Type)
	}
	if err != nil {
		closeAll(files)
		return nil, failed(wire.CodeConfig, "make the cell: check the task's directory: %w", err)
	}
	return dir, nil
}

// openTask lets the programs of the cell into the task's directory: all of the content is there.
func (k *keeper) openTask() error {
	if k.closed == nil {
		return nil
	}
	err := errors.Join(k.closed.Chown(k.app.UID, k.app.GID), k.closed.Chmod(cellroot.TaskMode), k.closed.Close())
	k.closed = nil
	if err != nil {
		return failed(wire.CodeConfig, "give the content to the cell: %w", err) // the store gave all of it
	}
	return nil
}
