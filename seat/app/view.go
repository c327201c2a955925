package app

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// viewStep hides a path, or shows one that is hidden.
type viewStep struct {
	path    string
	hide    bool
	fd      int    // of the path to show, opened before anything is hidden
	symlink string // not empty: make a symbolic link to it at path instead
}

// makeView gives the mount namespace the files that the app may see. It runs in
// the first step of the parent process, as root in the new namespaces.
func makeView(s spec) error {
	// The mounts below must not propagate to the node.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	steps, err := planView(s)
	if err != nil {
		return err
	}
	// The app must be able to enter mount points, whatever our umask is.
	defer unix.Umask(unix.Umask(0o022))
	sources := make([]int, len(s.Mounts))
	for i, m := range s.Mounts {
		if sources[i], err = openPath(m.Node); err != nil {
			return problem(wire.CodeConfig, fmt.Sprintf("mount %s: %v", m.Node, err))
		}
	}
	var done []viewStep
	var covers []string
	for _, step := range steps {
		if step.hide {
			hidden, err := cover(step.path)
			if err != nil {
				return err
			}
			if hidden {
				covers = append(covers, step.path)
				done = append(done, step)
			}
			continue
		}
		if !covered(step.path, done) {
			continue // it is visible already
		}
		if step.symlink != "" {
			if err := makeSymlink(step.symlink, step.path); err != nil {
				return fmt.Errorf("show %s: %w", step.path, err)
			}
			continue
		}
		if err := bind(step.fd, step.path, false); err != nil {
			return fmt.Errorf("show %s: %w", step.path, err)
		}
		done = append(done, step)
	}
	for i, m := range s.Mounts {
		if err := bind(sources[i], m.Task, m.ReadOnly); err != nil {
			return problem(wire.CodeConfig, fmt.Sprintf("mount %s on %s: %v", m.Node, m.Task, err))
		}
	}
	for _, c := range covers {
		// Only now, because the mount points in it had to be made. A hidden file
		// is bound to /dev/null, which stays writable.
		if info, err := os.Stat(c); err == nil && info.IsDir() {
			if err := unix.Mount("", c, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|coverFlags, ""); err != nil {
				return fmt.Errorf("make cover of %s read-only: %w", c, err)
			}
		}
	}
	return nil
}

// planView lists what to hide and what to show, outer paths first, so that either
// kind may lie inside the other.
func planView(s spec) ([]viewStep, error) {
	var steps []viewStep
	add := func(paths []string, hide bool) error {
		for _, path := range paths {
			real, err := filepath.EvalSymlinks(path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("resolve %s: %w", path, err)
			}
			if real == "/" {
				if hide {
					return problem(wire.CodeConfig, "the root directory cannot be hidden")
				}
				continue
			}
			step := viewStep{path: real, hide: hide, fd: -1}
			if !hide {
				if step.fd, err = openPath(real); err != nil {
					return fmt.Errorf("open %s: %w", real, err)
				}
			}
			steps = append(steps, step)
		}
		return nil
	}
	if err := errors.Join(add(s.Hide, true), add(s.Show, false)); err != nil {
		return nil, err
	}
	blocked, err := blockedPaths(s.Identity, s.announcedPaths())
	if err != nil {
		return nil, err
	}
	var closed []string
	for _, b := range blocked {
		if !slices.Contains(closed, b.closed) {
			closed = append(closed, b.closed)
		}
		if b.symlink != "" {
			steps = append(steps, viewStep{path: b.symlink, symlink: b.real})
		} else if err := add([]string{b.real}, false); err != nil {
			return nil, err
		}
	}
	if err := add(closed, true); err != nil {
		return nil, err
	}
	slices.SortStableFunc(steps, func(a, b viewStep) int { return cmp.Compare(depth(a.path), depth(b.path)) })
	return steps, nil
}

// covered reports whether path is hidden after the steps in done, which are
// ordered outer paths first.
func covered(path string, done []viewStep) bool {
	for _, step := range slices.Backward(done) {
		if below(path, step.path) {
			return step.hide
		}
	}
	return false
}

// announcedPaths are all paths that the app knows from its environment, from
// Nomad or from its command line.
func (s spec) announcedPaths() []string {
	paths := slices.Clone(s.Show)
	for _, m := range s.Mounts {
		paths = append(paths, m.Task)
	}
	return append(paths, s.Command) // the publisher is responsible for what else the command needs
}

func depth(path string) int { return strings.Count(path, "/") }

// below reports whether path is dir or in it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func openPath(path string) (int, error) {
	return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
}

const coverFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// cover mounts an empty directory over a directory, or /dev/null over a file. It
// returns false if there is nothing to cover.
func cover(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // an outer directory is covered already
	}
	if err != nil {
		return false, fmt.Errorf("hide %s: %w", path, err)
	}
	if info.IsDir() {
		err = unix.Mount("tmpfs", path, "tmpfs", coverFlags, "mode=755,size=1m")
	} else {
		err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
	}
	if err != nil {
		return false, fmt.Errorf("hide %s: %w", path, err)
	}
	return true, nil
}

// bind mounts the file or directory of fd at path, which it makes if it is missing.
func bind(fd int, path string, readOnly bool) error {
	source := fmt.Sprintf("/proc/self/fd/%d", fd)
	if !filepath.IsAbs(path) {
		return errors.New("the path in the task must be absolute")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := makeMountPoint(path, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
			return err
		}
	}
	if err := unix.Mount(source, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	// Recursively: a plain remount would leave mounts below path writable.
	return unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
}

// makeSymlink makes a symbolic link at path, unless something is there.
func makeSymlink(to, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil // it was shown by an earlier step
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func makeMountPoint(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
