package internet

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HelperArg is the argument that makes this executable the helper.
const HelperArg = "internet-helper"

// Limits of the helper. An app may open as many connections as it can, and each takes a
// descriptor and some memory of the helper. With too little memory the helper ends, and
// with it this cell's network alone.
const (
	maxFiles  = 1024
	maxMemory = 1 << 30 // of addresses, of which it uses a part
)

// HelperMain is the main function of the helper: os.Args are HelperArg, the path of
// slirp4netns, and the text of its resolv.conf. The process is root of its own user
// namespace, and in the node's network namespace. It makes a further network namespace,
// where slirp4netns may make its interface, hides the node's files, and becomes
// slirp4netns, which then gives up what privileges it has.
func HelperMain() {
	runtime.LockOSThread() // privileges belong to a thread
	err := fmt.Errorf("%d arguments", len(os.Args))
	if len(os.Args) == 4 {
		err = become(os.Args[2], os.Args[3])
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// become returns only if it fails.
func become(path, names string) error {
	if err := makeNetns(); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if err := hide(names); err != nil {
		return fmt.Errorf("hide the node's files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	return limitedExec(path, []string{
		program,
		"--netns-type=path",
		"--ready-fd", fmt.Sprint(readyFD),
		"--exit-fd", fmt.Sprint(aliveFD),
		"--mtu", fmt.Sprint(mtu),
		"--cidr", network.String(),
		"--disable-host-loopback", // the gateway's address would lead to the node's loopback
		"--enable-sandbox",        // no capability on anything but low ports of its own namespaces
		"--enable-seccomp",
		fmt.Sprintf("/proc/self/fd/%d", netnsFD), Interface,
	})
}

// limitedExec executes a program with the limits above, and without an environment. It
// returns only if it fails.
func limitedExec(path string, args []string) error {
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_NOFILE: maxFiles,
		unix.RLIMIT_CORE:   0, // a dump would have what people send
	} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit resource %d: %w", resource, err)
		}
	}
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return fmt.Errorf("execute %s: %w", path, err)
	}
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return fmt.Errorf("execute %s: %w", path, err)
	}
	env := []*byte{nil}
	memory := &unix.Rlimit{Cur: maxMemory, Max: maxMemory}
	// Go's runtime has more addresses than that. So from here to the program it must ask
	// for none: nothing is allocated.
	if err := unix.Prlimit(0, unix.RLIMIT_AS, memory, nil); err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	_, _, errno := syscall.RawSyscall(unix.SYS_EXECVE,
		uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	return fmt.Errorf("execute %s: %w", path, errno)
}

// makeNetns leaves a new namespace open as netnsFD. This process stays outside: only one
// other thread enters, and that one ends.
func makeNetns() error {
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Dup3(fd, netnsFD, 0) // inherited
		}
		made <- err
	}()
	return <-made
}

// hide covers /etc and /run, the only folders that slirp4netns keeps, with empty ones.
func hide(names string) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, dir := range []string{"/etc", "/run"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
	}
	return os.WriteFile(nodeResolvers, []byte(names), 0o644)
}
