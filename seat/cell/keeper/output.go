package keeper

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openOutput opens the file or FIFO that an app prints to; empty is /dev/null. A FIFO
// is opened for reading too: so it opens at once without a reader, and SIGPIPE does not
// kill the app when the reader, Nomad's log collector, restarts.
func openOutput(path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	flags := unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		flags = unix.O_RDWR
	}
	// Not os.OpenFile: it makes a FIFO non-blocking, and the app would inherit that.
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the app's output: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	return os.NewFile(uintptr(fd), path), nil
}
