package attack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ioctlByte(fd int, request uint, b *byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(b))); errno != 0 {
		return errno
	}
	return nil
}

// mayWrite opens a file to write, and writes nothing.
func (a *attacker) mayWrite(path string) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENOENT) {
		a.lack("%s is not there", path)
		return
	}
	if err == nil {
		unix.Close(fd)
	}
	a.try("may write "+path, err)
}

// writeProc changes the kernel's settings.
func writeProc(_ ctx, a *attacker) Result {
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/hostname", "/proc/sys/kernel/modprobe",
		"/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/pid_max", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/fs/binfmt_misc/register",
		"/proc/sys/kernel/shmmax", "/proc/sys/user/max_user_namespaces", "/proc/irq/default_smp_affinity", "/proc/mtrr",
	} {
		a.mayWrite(path)
	}
	for _, path := range []string{"/proc/kcore", "/proc/kmsg", "/proc/kpagecount", "/proc/1/root/etc/shadow"} {
		if f, err := os.Open(path); err != nil {
			a.refuse("read "+path, err)
		} else {
			_ = f.Close()
			a.succeed("may read %s", path)
		}
	}
	if text, err := os.ReadFile("/proc/kallsyms"); err == nil && len(text) > 0 && !strings.HasPrefix(string(text), "0000000000000000 ") {
		a.succeed("read the addresses of the kernel in /proc/kallsyms")
	}
	// So that the kernel ends others first when memory is short.
	a.try("may ask not to be killed", os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0))
	return a.result()
}

// writeSys changes devices and cgroups: a cgroup is what limits and ends a seat.
func writeSys(_ ctx, a *attacker) Result {
	for _, path := range []string{
		"/sys/power/state", "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled",
		"/sys/bus/pci/rescan", "/sys/kernel/debug/tracing/trace_marker", "/sys/kernel/profiling", "/sys/class/net/lo/mtu",
	} {
		a.mayWrite(path)
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if d.IsDir() {
			if strings.Count(path, "/") > 7 {
				return fs.SkipDir
			}
			return nil
		}
		switch d.Name() {
		case "cgroup.procs", "tasks", "release_agent", "notify_on_release", "cgroup.kill", "cgroup.freeze", "pids.max", "memory.max", "memory.limit_in_bytes", "devices.allow":
			a.mayWrite(path)
		}
		return nil
	})
	return a.result()
}

// nodeSettings changes what a whole node has once: name, clock, modules. Where the app
// may, each call sets what is set already, or fails for another reason than rights.
func nodeSettings(_ ctx, a *attacker) Result {
	var names unix.Utsname
	if unix.Uname(&names) == nil {
		a.try("sethostname", unix.Sethostname([]byte(unix.ByteSliceToString(names.Nodename[:]))))
	}
	clock := unix.Timex{}
	if _, err := unix.Adjtimex(&clock); err == nil {
		clock = unix.Timex{Modes: 0x4000, Tick: clock.Tick} // ADJ_TICK
		_, err = unix.Adjtimex(&clock)
		a.try("adjtimex", err)
	}
	empty := []byte{0}
	for name, call := range map[string]struct {
		number  uintptr
		args    [3]uintptr
		allowed unix.Errno // what the kernel says after it has looked at the rights
	}{
		"reboot":        {unix.SYS_REBOOT, [3]uintptr{}, unix.EINVAL},
		"delete_module": {unix.SYS_DELETE_MODULE, [3]uintptr{uintptr(unsafe.Pointer(&empty[0]))}, unix.ENOENT},
		"init_module":   {unix.SYS_INIT_MODULE, [3]uintptr{0, 0, uintptr(unsafe.Pointer(&empty[0]))}, unix.EFAULT},
		"swapoff":       {unix.SYS_SWAPOFF, [3]uintptr{uintptr(unsafe.Pointer(&empty[0]))}, unix.ENOENT},
		"kexec_load":    {unix.SYS_KEXEC_LOAD, [3]uintptr{0, 1 << 20}, unix.EINVAL},
	} {
		_, _, errno := unix.Syscall6(call.number, call.args[0], call.args[1], call.args[2], 0, 0, 0)
		switch {
		case errno == unix.EPERM || errno == unix.EACCES || errno == unix.ENOSYS:
			a.refuse(name, errno)
		default:
			a.succeed("%s is allowed: %s", name, unix.ErrnoName(errno))
		}
	}
	return a.result()
}

// kernelLog reads what the kernel prints: addresses, names of devices, other seats'
// programs that were killed.
func kernelLog(_ ctx, a *attacker) Result {
	buf := make([]byte, 4096)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		a.refuse("syslog", err)
	} else {
		a.succeed("read %d bytes by syslog", n)
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		a.refuse("/dev/kmsg", err)
		return a.result()
	}
	defer unix.Close(fd)
	n, err = unix.Read(fd, buf)
	if err != nil {
		a.refuse("/dev/kmsg", err)
	} else {
		a.succeed("read %d bytes in /dev/kmsg", n)
	}
	return a.result()
}

// kernelSurface calls what no app needs, and in which many holes were found.
func kernelSurface(_ ctx, a *attacker) Result {
	page := make([]byte, 4096) // zeros are a valid start for each structure
	p := uintptr(unsafe.Pointer(&page[0]))
	attr := func(put func()) { clear(page); put() }
	call := func(name string, number uintptr, args ...uintptr) {
		full := [6]uintptr{}
		copy(full[:], args)
		fd, _, errno := unix.Syscall6(number, full[0], full[1], full[2], full[3], full[4], full[5])
		switch {
		case errno != 0:
			a.refuse(name, errno)
		default:
			a.succeed("%s", name)
			unix.Close(int(fd))
		}
	}
	u32 := func(at int) *uint32 { return (*uint32)(unsafe.Pointer(&page[at])) }

	attr(func() { *u32(0), *u32(4), *u32(8), *u32(12) = 2, 4, 8, 1 }) // an array of one element
	call("bpf", unix.SYS_BPF, 0, p, 72)
	attr(func() { *u32(0), *u32(4) = 1, 112 }) // PERF_TYPE_SOFTWARE, of the CPU's clock
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN, p, 0, ^uintptr(0), ^uintptr(0), 0)
	attr(func() {})
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 4, p)
	call("userfaultfd", unix.SYS_USERFAULTFD, unix.O_CLOEXEC)
	call("fanotify_init", unix.SYS_FANOTIFY_INIT, 0x200, 0) // FAN_REPORT_FID, for all users
	call("fsopen", unix.SYS_FSOPEN, uintptr(unsafe.Pointer(&append([]byte("tmpfs"), 0)[0])), 0)

	// clone3 hides its flags from a seccomp profile.
	attr(func() { *u32(0), *u32(32) = unix.CLONE_NEWUSER, uint32(unix.SIGCHLD) })
	if pid, errno := clone3(p); errno != 0 {
		a.refuse("clone3 of a user namespace", errno)
	} else {
		_, _ = unix.Wait4(pid, nil, 0, nil)
		a.succeed("clone3 of a user namespace")
	}

	// These return no descriptor.
	for name, number := range map[string][4]uintptr{
		"keyctl":                   {unix.SYS_KEYCTL, 0, uintptr(0xfffffffd), 1}, // the session's keyring, made if there is none
		"unshare a user namespace": {unix.SYS_UNSHARE, unix.CLONE_NEWUSER},
		"personality without address randomization": {unix.SYS_PERSONALITY, 0x40000},
	} {
		if _, _, errno := unix.Syscall(number[0], number[1], number[2], number[3]); errno != 0 {
			a.refuse(name, errno)
		} else {
			a.succeed("%s", name)
		}
	}
	return a.result()
}

// clone3 makes a process that ends at once.
//
//go:norace
//go:noinline
func clone3(args uintptr) (int, unix.Errno) {
	pid, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, args, 88, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// harmless are devices that every program may open.
var harmless = map[string]bool{
	"/dev/null": true, "/dev/zero": true, "/dev/full": true, "/dev/random": true, "/dev/urandom": true,
	"/dev/tty": true, "/dev/ptmx": true,
}

// devices opens everything in /dev. A watchdog would restart the node once it is open.
func devices(_ ctx, a *attacker) Result {
	denied := 0
	_ = filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case path == "/dev/pts" || path == "/dev/shm" || path == "/dev/mqueue":
			return fs.SkipDir
		case d.Type()&fs.ModeDevice == 0 || harmless[path]:
			return nil
		}
		open := func() error {
			if strings.Contains(path, "watchdog") {
				return unix.Access(path, unix.R_OK)
			}
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}
		if err := open(); err != nil {
			denied++
		} else {
			a.succeed("opened %s", path)
		}
		return nil
	})
	a.refused = append(a.refused, fmt.Sprintf("%d devices are there and cannot be opened", denied))
	return a.result()
}
