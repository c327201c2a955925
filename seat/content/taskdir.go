package content

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// taskDir is the task directory. Its paths are opened through os.Root, so that a
// symbolic link cannot lead out of it.
type taskDir struct {
	root      root
	private   bool
	linksOnly bool // a file that cannot be linked, as one that has too many names, is an error
}

// root is os.Root, as far as it is used here.
type root interface {
	MkdirAll(name string, mode os.FileMode) error
	Open(name string) (*os.File, error)
	Close() error
}

func openTaskDir(dir string, private bool) (*taskDir, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, failure(wire.CodeConfig, "open the task directory: %v", err)
	}
	return &taskDir{root: root, private: private}, nil
}

func (t *taskDir) Close() error { return t.root.Close() }

func (t *taskDir) mkdir(dest string) error {
	if err := t.root.MkdirAll(dest, 0o755); err != nil {
		return destinationError(dest, err)
	}
	return nil
}

// placement is a file of the cache and its name in a directory.
type placement struct{ path, name string }

// put links or copies files of the cache into a directory, and replaces what an earlier
// start that was killed left there. It does not use renameio, which writes a new file:
// these are hard links if possible.
func (t *taskDir) put(dir string, all []placement) error {
	if err := t.mkdir(dir); err != nil {
		return err
	}
	to, err := t.root.Open(dir)
	if err != nil {
		return destinationError(dir, err)
	}
	defer to.Close()
	for _, p := range all {
		if err := t.putOne(p.path, int(to.Fd()), p.name); err != nil {
			return destinationError(filepath.Join(dir, p.name), err)
		}
	}
	return nil
}

func (t *taskDir) putOne(path string, dir int, name string) error {
	if !t.private {
		if err := unix.Linkat(unix.AT_FDCWD, path, dir, name, 0); err == nil || t.linksOnly {
			return err
		}
	}
	// In the same directory, so that the rename is atomic.
	temp := ".nearcast-" + strconv.Itoa(os.Getpid()) + "-" + name
	if len(temp) > 255 {
		temp = temp[:255]
	}
	if err := t.linkOrCopy(path, dir, temp); err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
		return err
	}
	if err := unix.Renameat(dir, temp, dir, name); err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
		return err
	}
	// If both names are links to one inode, rename does nothing and keeps both.
	if err := unix.Unlinkat(dir, temp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (t *taskDir) linkOrCopy(path string, dir int, name string) error {
	_ = unix.Unlinkat(dir, name, 0)
	if !t.private {
		err := unix.Linkat(unix.AT_FDCWD, path, dir, name, 0)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EOPNOTSUPP):
			// Another filesystem, or one without hard links: copy.
		default:
			return err
		}
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), name)
	defer to.Close()
	// io.Copy uses copy_file_range, which shares blocks if the filesystem can.
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Chmod(info.Mode().Perm()); err != nil { // regardless of the umask
		return err
	}
	return to.Close()
}

// destinationError says why dest cannot be written. A path that leaves the
// directory is an error in the job, and so is a file where a directory must be.
func destinationError(dest string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return failure(wire.CodeDiskFull, "the task directory has no space for %s; use a larger disk", dest)
	}
	if strings.Contains(err.Error(), "escapes") {
		return failure(wire.CodeConfig, "content destination %q leaves the task directory through a symbolic link", dest)
	}
	return failure(wire.CodeConfig, "content destination %q cannot be written: %v", dest, err)
}
