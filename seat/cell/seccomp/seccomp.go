// Package seccomp limits which system calls the processes of a cell can make. The
// base is Docker's default profile; what a cell refuses and allows beyond it is in
// package policy, and docs/SECCOMP.md has the reasons. What is refused fails
// with EPERM; calls that the profile does not know yet fail with ENOSYS, and so does
// clone3, so that programs use an older call instead.
//
// The filter belongs to a thread and to all that it starts, and can never be taken
// off. It is meant for a process that executes its program next:
//
//	runtime.LockOSThread() // for good
//	// groups, user, capabilities and Landlock first, so that none of them depends on the filter
//	if err := seccomp.Install(seccomp.Filter(seccomp.Options{})); err != nil {
//		return err
//	}
//	return syscall.Exec(program, args, env)
//
// The programs are made before, by go generate, so that a start pays only for what
// the kernel does with them.
package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

//go:generate go run ./generate

// Options are what a seat may ask for.
type Options struct {
	// UserNamespaces allows what makes a sandbox out of namespaces: Chromium's own
	// sandbox and bubblewrap need it. It opens much of the kernel that else only root
	// reaches.
	UserNamespaces bool
	// I386 allows programs of 32-bit x86, such as Wine's. Without it such a program is
	// ended by SIGSYS. With it socketcall makes sockets of every kind, because it has
	// its arguments in memory, which a filter does not see. There is nothing of the kind
	// on other machines.
	I386 bool
}

// Install sets no_new_privs and the filter for the calling thread, which must be
// locked.
func Install(filter []unix.SockFilter) error {
	if len(filter) == 0 || len(filter) > unix.BPF_MAXINSNS {
		return fmt.Errorf("install the seccomp filter: it has %d instructions", len(filter))
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Before Linux 5.16 a filter also turned off a speculation of the processor, which
	// costs an app much. It guards only what is inside one process.
	_, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if e != 0 {
		return fmt.Errorf("install the seccomp filter: %w", e)
	}
	return nil
}

// instruction is how the generated programs are written.
type instruction unix.SockFilter

// Instructions of the choice between architectures.
const (
	load        = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jump        = unix.BPF_JMP | unix.BPF_JA
	jumpIfEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	give        = unix.BPF_RET | unix.BPF_K

	numberAt, archAt = 0, 4 // in struct seccomp_data
)

func join(parts ...[]instruction) []unix.SockFilter {
	var all []unix.SockFilter
	for _, part := range parts {
		for _, in := range part {
			all = append(all, unix.SockFilter(in))
		}
	}
	return all
}
