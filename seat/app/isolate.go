package app

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// This file runs in the first step of the parent process, as root in the new
// namespaces.

// viewStep covers a path or brings one back.
type viewStep struct {
	path string
	hide bool
	fd   int    // of what is brought back, opened before anything was covered
	link string // instead: a symbolic link to be made at path, to there
}

// makeView makes the mount namespace what the application may see.
func makeView(s spec) error {
	// Nothing we mount reaches the host.
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
	// Mount points are for the application to pass, whatever our own mask says.
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
			continue // is visible as it is
		}
		if step.link != "" {
			if err := makeLink(step.link, step.path); err != nil {
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
		// Now that the mount points in it are made. A covered file is bound to
		// /dev/null, which stays writable.
		if info, err := os.Stat(c); err == nil && info.IsDir() {
			if err := unix.Mount("", c, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|coverFlags, ""); err != nil {
				return fmt.Errorf("make cover of %s read-only: %w", c, err)
			}
		}
	}
	return nil
}

// planView orders what to cover and what to bring back: outer paths first, so
// that either may lie in the other.
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
	ways, err := passages(s.Identity, s.promised())
	if err != nil {
		return nil, err
	}
	var closed []string
	for _, way := range ways {
		if !slices.Contains(closed, way.closed) {
			closed = append(closed, way.closed)
		}
		if way.link != "" {
			steps = append(steps, viewStep{path: way.link, link: way.real})
		} else if err := add([]string{way.real}, false); err != nil {
			return nil, err
		}
	}
	if err := add(closed, true); err != nil {
		return nil, err
	}
	slices.SortStableFunc(steps, func(a, b viewStep) int { return cmp.Compare(depth(a.path), depth(b.path)) })
	return steps, nil
}

// covered reports whether path lies in a cover, and not in something that was
// brought back in it. The steps done are outer paths first.
func covered(path string, done []viewStep) bool {
	for _, step := range slices.Backward(done) {
		if below(path, step.path) {
			return step.hide
		}
	}
	return false
}

// promised is every path that the application was told of.
func (s spec) promised() []string {
	paths := slices.Clone(s.Show)
	for _, m := range s.Mounts {
		paths = append(paths, m.Task)
	}
	return append(paths, s.Command) // the others on the way to it are the job's own
}

func depth(path string) int { return strings.Count(path, "/") }

// below reports whether path is dir or in it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func openPath(path string) (int, error) {
	return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
}

const coverFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// cover puts an empty directory over a directory, and nothing over a file.
func cover(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // in something that is covered already
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

// bind mounts what fd is onto a path, which is made if it is missing.
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
		if err := makePoint(path, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
			return err
		}
	}
	if err := unix.Mount(source, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !readOnly {
		return nil
	}
	// Of the whole tree: a plain remount would leave mounts below it writable.
	return unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE,
		&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
}

// makeLink makes a symbolic link where nothing is.
func makeLink(to, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil // something that was shown leads there
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func makePoint(path string, dir bool) error {
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

// loopbackUp brings the new network namespace's only interface up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// dropPrivileges makes the calling thread the application's user, for good.
// The system calls are made by hand: the wrappers act on all threads, which a
// program with C in it does not allow, and which is not needed, as the thread
// executes the program again.
func dropPrivileges(s spec) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if !s.Drop {
		return nil
	}
	// The bounding set first: it takes a capability.
	for c := 0; ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && c > 0 {
			break // past the last
		}
		if errors.Is(err, unix.EPERM) && c == 0 {
			break // root without this capability, in a container; no_new_privs has the same effect
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	id := s.Identity
	if err := setGroups(id.Groups); err != nil {
		return err
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(id.GID), uintptr(id.GID), uintptr(id.GID)); e != 0 {
		return fmt.Errorf("set group: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(id.UID), uintptr(id.UID), uintptr(id.UID)); e != 0 {
		return fmt.Errorf("set user: %w", e)
	}
	unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // none on a kernel that has none
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("clear capabilities: %w", err)
	}
	if s.Isolate {
		// A change of user takes the parent death signal away.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("set parent death signal: %w", err)
		}
	}
	return nil
}

// setGroups sets the calling thread's supplementary groups.
func setGroups(ids []int) error {
	groups := make([]uint32, len(ids))
	for i, g := range ids {
		groups[i] = uint32(g)
	}
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
		return fmt.Errorf("set groups: %w", e)
	}
	return nil
}
