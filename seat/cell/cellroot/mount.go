package cellroot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

const readOnly = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// bind mounts the file or directory from, with all mounts below it, on an existing
// target, with additional attributes.
func bind(from, target string, attributes uint64) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("open %s: %w", from, err)
	}
	defer unix.Close(fd)
	return attach(fd, from, target, attributes)
}

func attach(fd int, from, target string, attributes uint64) error {
	attr := unix.MountAttr{Attr_set: attributes | unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	// Recursively: a plain remount would leave mounts below it as they are.
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("set attributes of %s: %w", from, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s on %s: %w", from, target, err)
	}
	return nil
}

// show binds a path of the node to the same path of the new root, read-only. A symbolic
// link is shown as a link. A missing path is ignored.
func (b *builder) show(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		to, err := os.Readlink(path)
		if err != nil {
			return err
		}
		parent, err := b.mountPoint(filepath.Dir(path), true)
		if err != nil {
			return err
		}
		err = os.Symlink(to, filepath.Join(parent, filepath.Base(path)))
		if errors.Is(err, os.ErrExist) {
			return nil // it was shown before
		}
		return err
	}
	at, err := b.mountPoint(path, info.IsDir())
	if err != nil {
		return err
	}
	return bind(path, at, readOnly)
}

// inside resolves a path in the new root, as the cell's programs will. A symbolic link
// in it never leads to the node's files.
func (b *builder) inside(path string) (string, error) { return securejoin.SecureJoin(b.top, path) }

// mountPoint makes an empty directory or file at a path of the new root, unless
// something is there, and returns where that is.
func (b *builder) mountPoint(path string, dir bool) (at string, err error) {
	if at, err = b.inside(path); err != nil {
		return "", fmt.Errorf("make mount point: %w", err)
	}
	if _, err := os.Lstat(at); err == nil {
		return at, nil
	}
	parent := at
	if !dir {
		parent = filepath.Dir(at)
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("make mount point: %w", err)
	}
	if dir {
		return at, nil
	}
	f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", fmt.Errorf("make mount point: %w", err)
	}
	return at, f.Close()
}

// cover hides a directory or file of the new root, if it is there.
func (b *builder) cover(path string) error {
	at, err := b.inside(path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(at)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=1m")
	}
	return unix.Mount("/dev/null", at, "", unix.MS_BIND, "")
}

// below reports whether path is dir or in it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
