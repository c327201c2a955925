package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A path that the app was given may lie below a directory that its user cannot
// enter, such as root's home. The app's mount namespace makes it accessible
// without a change on the node: an empty directory covers the closed one, and
// only the paths that the app was given appear again below it, under the same
// names. So every path in the app's environment or from Nomad stays correct.

// blockedPath is a path that the app's user cannot reach.
type blockedPath struct {
	closed string // real path of the outermost ancestor that the user cannot enter
	real   string // real path of the blocked path
	// symlink is where a symbolic link to real must be made, because the path leads
	// through the closed directory by symbolic links; empty if no link is needed.
	symlink string
}

// blockedPaths returns those of paths that the user cannot reach.
func blockedPaths(id identity, paths []string) ([]blockedPath, error) {
	var all []blockedPath
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			continue
		}
		path = filepath.Clean(path)
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, os.ErrNotExist) {
			real = path // it may become a mount point; if not, "missing" is the better error
		} else if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", path, err)
		}
		closed, err := id.outermostClosed(real)
		if err != nil {
			return nil, err
		}
		if closed != "" {
			all = append(all, blockedPath{closed: closed, real: real})
		}
		if path == real {
			continue
		}
		on, err := id.outermostClosed(path)
		if err != nil {
			return nil, err
		}
		if on == "" {
			continue
		}
		// The path leads through symbolic links. Those before the closed directory
		// stay; those below it disappear under the cover.
		target, err := filepath.EvalSymlinks(on)
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", on, err)
		}
		closed = target
		if outer, err := id.outermostClosed(target); err != nil {
			return nil, err
		} else if outer != "" {
			closed = outer
		}
		if link := target + strings.TrimPrefix(path, on); link != real {
			all = append(all, blockedPath{closed: closed, real: real, symlink: link})
		}
	}
	return all, nil
}

// outermostClosed returns the first directory on the way to path that the user
// cannot enter, or "" if there is none.
func (id identity) outermostClosed(path string) (closed string, err error) {
	err = id.actAs(func() error {
		closed, err = outermostClosed(path)
		return err
	})
	return closed, err
}

func outermostClosed(path string) (string, error) {
	for i := 1; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		// To open "." in a directory needs permission to enter it, by every rule:
		// mode, access control list, security module.
		fd, err := unix.Open(path[:i]+"/.", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			unix.Close(fd)
		case errors.Is(err, unix.EACCES):
			return path[:i], nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return "", nil // no such path; the caller reports that
		default:
			return "", fmt.Errorf("look at %s: %w", path[:i], err)
		}
	}
	return "", nil
}

// CanAccess reports whether a user, as in Config.User, can enter every directory on
// the way to path.
func CanAccess(user, path string) (bool, error) {
	id, err := lookup(user)
	if err != nil {
		return false, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return false, err
	}
	type answer struct {
		closed string
		err    error
	}
	answers := make(chan answer)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends here, whatever its user is now
		closed, err := id.outermostClosed(path)
		answers <- answer{closed, err}
	}()
	a := <-answers
	return a.closed == "", a.err
}

// actAs runs f with the file access of the user. Only the calling thread changes,
// which must be locked, and only while f runs.
func (id identity) actAs(f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	groups, err := unix.Getgroups()
	if err != nil {
		return fmt.Errorf("get groups: %w", err)
	}
	root := identity{UID: 0, GID: os.Getegid(), Groups: groups}
	// Become root again even if only a part succeeded. To become another user, the
	// uid changes last; to become root, first: only root may change the groups.
	defer root.setFileAccess()
	if err := id.setFileAccess(); err != nil {
		return err
	}
	return f()
}

// setFileAccess gives the calling thread the file access of id.
func (id identity) setFileAccess() error {
	fsid := func(call uintptr, id int) error {
		syscall.RawSyscall(call, uintptr(id), 0, 0) // returns the earlier id, not whether it worked
		none := ^uintptr(0)
		if now, _, _ := syscall.RawSyscall(call, none, 0, 0); int(now) != id {
			return fmt.Errorf("set file access of %d: %w", id, unix.EPERM)
		}
		return nil
	}
	if id.UID == 0 {
		if err := fsid(unix.SYS_SETFSUID, 0); err != nil {
			return err
		}
	}
	if err := setGroups(id.Groups); err != nil {
		return err
	}
	if err := fsid(unix.SYS_SETFSGID, id.GID); err != nil {
		return err
	}
	return fsid(unix.SYS_SETFSUID, id.UID)
}
