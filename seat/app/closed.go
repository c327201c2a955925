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

// A directory may lie below one that the application's user cannot enter, such
// as root's home. In its own mount namespace that is mended without opening
// anything on the host: an empty directory covers the closed one, and below it
// only what was promised appears again, under the same path. So every path
// that the application was told, in its environment or by Nomad, is right.

// passage is how a promised path becomes reachable.
type passage struct {
	closed string // real path of the outermost ancestor that the user cannot enter
	real   string // real path of what was promised
	// link is where a link to real must be, for a path that led through the
	// closed directory by symbolic links; empty where there is none.
	link string
}

// passages finds how each path becomes reachable, where it is not.
func passages(id identity, paths []string) ([]passage, error) {
	var all []passage
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			continue
		}
		path = filepath.Clean(path)
		real, err := filepath.EvalSymlinks(path)
		if errors.Is(err, os.ErrNotExist) {
			real = path // may become a mount point; or the user is to hear that it is missing, not that it is closed
		} else if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", path, err)
		}
		closed, err := id.outermostClosed(real)
		if err != nil {
			return nil, err
		}
		if closed != "" {
			all = append(all, passage{closed: closed, real: real})
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
		// The way is by symbolic links. What leads to the closed directory
		// stays as it is; the rest of the way vanishes under the cover.
		behind, err := filepath.EvalSymlinks(on)
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", on, err)
		}
		closed = behind
		if outer, err := id.outermostClosed(behind); err != nil {
			return nil, err
		} else if outer != "" {
			closed = outer
		}
		if link := behind + strings.TrimPrefix(path, on); link != real {
			all = append(all, passage{closed: closed, real: real, link: link})
		}
	}
	return all, nil
}

// outermostClosed is the first directory on the way to path that the user
// cannot enter; empty where it can enter all.
func (id identity) outermostClosed(path string) (closed string, err error) {
	err = id.act(func() error {
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
		// To look for "." in a directory is to enter it, by every rule there is:
		// mode, access control list, security module.
		fd, err := unix.Open(path[:i]+"/.", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			unix.Close(fd)
		case errors.Is(err, unix.EACCES):
			return path[:i], nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return "", nil // no such path; others say so better
		default:
			return "", fmt.Errorf("look at %s: %w", path[:i], err)
		}
	}
	return "", nil
}

// CanReach reports whether a user, as in Config.User, can pass every directory
// on the way to path.
func CanReach(user, path string) (bool, error) {
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
		runtime.LockOSThread() // and never unlock: the thread ends here, whatever became of it
		closed, err := id.outermostClosed(path)
		answers <- answer{closed, err}
	}()
	a := <-answers
	return a.closed == "", a.err
}

// act lets f reach files as the user does. Only the calling thread changes,
// which must be locked, and only for as long as f takes.
func (id identity) act(f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	groups, err := unix.Getgroups()
	if err != nil {
		return fmt.Errorf("get groups: %w", err)
	}
	root := identity{UID: 0, GID: os.Getegid(), Groups: groups}
	// Root again even when half of it failed. The user last and first: it is
	// what takes the right to change the others.
	defer root.reach()
	if err := id.reach(); err != nil {
		return err
	}
	return f()
}

// reach sets who the calling thread is to file systems.
func (id identity) reach() error {
	fsid := func(call uintptr, id int) error {
		syscall.RawSyscall(call, uintptr(id), 0, 0) // tells who it was, not whether it worked
		none := ^uintptr(0)
		if now, _, _ := syscall.RawSyscall(call, none, 0, 0); int(now) != id {
			return fmt.Errorf("become %d to file systems: %w", id, unix.EPERM)
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
