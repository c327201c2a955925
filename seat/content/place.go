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

// place is the task directory. All its paths are walked by os.Root, which a
// symbolic link cannot lead out of.
type place struct {
	root    *os.Root
	private bool
}

func openPlace(dir string, private bool) (*place, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, failure(wire.CodeConfig, "open the task directory: %v", err)
	}
	return &place{root: root, private: private}, nil
}

func (p *place) Close() error { return p.root.Close() }

func (p *place) mkdir(dest string) error {
	if err := p.root.MkdirAll(dest, 0o755); err != nil {
		return misplaced(dest, err)
	}
	return nil
}

// put gives the cached file at path the name dest in the task directory,
// replacing what a killed start left there.
func (p *place) put(path, dest string) error {
	if err := p.mkdir(filepath.Dir(dest)); err != nil {
		return err
	}
	dir, err := p.root.Open(filepath.Dir(dest))
	if err != nil {
		return misplaced(dest, err)
	}
	defer dir.Close()
	fd, name := int(dir.Fd()), filepath.Base(dest)
	// In the same directory, so that the rename is one step.
	temp := ".nearcast-" + strconv.Itoa(os.Getpid()) + "-" + name
	if len(temp) > 255 {
		temp = temp[:255]
	}
	if err := p.bring(path, fd, temp); err != nil {
		_ = unix.Unlinkat(fd, temp, 0)
		return misplaced(dest, err)
	}
	if err := unix.Renameat(fd, temp, fd, name); err != nil {
		_ = unix.Unlinkat(fd, temp, 0)
		return misplaced(dest, err)
	}
	// Two links to one inode: rename then does nothing and leaves both.
	if err := unix.Unlinkat(fd, temp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return misplaced(dest, err)
	}
	return nil
}

func (p *place) bring(path string, dir int, name string) error {
	_ = unix.Unlinkat(dir, name, 0)
	if !p.private {
		err := unix.Linkat(unix.AT_FDCWD, path, dir, name, 0)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EOPNOTSUPP):
			// Another filesystem, or one without links: a copy it is.
		default:
			return err
		}
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return err
	}
	to := os.NewFile(uintptr(fd), name)
	defer to.Close()
	// copy_file_range shares blocks where the filesystem can.
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Chmod(0o444); err != nil { // whatever the umask
		return err
	}
	return to.Close()
}

// misplaced says why dest cannot be written. A path that leaves the directory
// is the job's fault, as is a file where a directory should be.
func misplaced(dest string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return failure(wire.CodeDiskFull, "no room in the task directory for %s", dest)
	}
	if strings.Contains(err.Error(), "escapes") {
		return failure(wire.CodeConfig, "content destination %q leaves the task directory through a symbolic link", dest)
	}
	return failure(wire.CodeConfig, "content destination %q cannot be written: %v", dest, err)
}
