package attack

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ptraceTargets attaches to processes of others. It does not stop them, and the kernel
// detaches when this process ends.
func ptraceTargets(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) { return seize(t.PID) })
}

func seize(pid int) (string, error) {
	runtime.LockOSThread() // and never unlock: the thread ends with the process
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return "", errno
	}
	return "attached to it", nil
}

// readRemote reads memory without ptrace.
func readRemote(pid int) (string, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return "", err
	}
	var from uintptr
	if _, err := fmt.Sscanf(string(maps), "%x-", &from); err != nil {
		return "", fmt.Errorf("maps: %w", err)
	}
	head := make([]byte, 4)
	n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &head[0], Len: 4}}, []unix.RemoteIovec{{Base: from, Len: 4}}, 0)
	return fmt.Sprintf("read %q by process_vm_readv", head[:max(n, 0)]), err
}

// pidfdTargets takes open files of others by pidfd_getfd, and their memory by
// process_vm_readv.
func pidfdTargets(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) {
		got, err := takeFiles(t.PID)
		if err == nil {
			return got, nil
		}
		if got, rerr := readRemote(t.PID); rerr == nil {
			return got, nil
		}
		return "", err
	})
}

func takeFiles(pid int) (string, error) {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(handle)
	taken := 0
	for fd := range 64 {
		var got int
		if got, err = unix.PidfdGetfd(handle, fd, 0); err == nil {
			unix.Close(got)
			taken++
		} else if !errors.Is(err, unix.EBADF) {
			return "", err
		}
	}
	if taken == 0 {
		return "", unix.EBADF
	}
	return fmt.Sprintf("took %d of its open files", taken), nil
}

// signalTargets finds whom it may signal. It sends signal 0, which asks for the
// permission alone.
func signalTargets(_ ctx, a *attacker) Result {
	for _, t := range a.Targets {
		// /proc may hide what can be signalled all the same.
		if p, err := readProcess(t.PID); err == nil && (p.start != t.Start || p.comm != t.Comm) {
			a.refuse(t.Role, errNotVisible)
			continue
		}
		a.try("may end "+t.Role, unix.Kill(t.PID, 0))
	}
	own, others := a.own(), 0
	for pid := 2; pid < 65_536; pid++ {
		if own[pid] || pid == a.keeper() || unix.Kill(pid, 0) != nil {
			continue
		}
		// A number may be that of a thread.
		if leader, err := strconv.Atoi(status(strconv.Itoa(pid), "Tgid")); err == nil && (own[leader] || leader == a.keeper()) {
			continue
		}
		others++
	}
	if others > 0 {
		a.succeed("may end %d processes of others", others)
	}
	return a.result()
}

// tuneTargets slows down others: limits, priority, CPUs. It sets what is set already.
func tuneTargets(_ ctx, a *attacker) Result {
	return a.each(func(t Process) (string, error) {
		var limit unix.Rlimit
		if err := unix.Prlimit(t.PID, unix.RLIMIT_CORE, nil, &limit); err == nil {
			if err := unix.Prlimit(t.PID, unix.RLIMIT_CORE, &limit, nil); err == nil {
				return "may set its limits", nil
			}
		}
		var cpus unix.CPUSet
		err := unix.SchedGetaffinity(t.PID, &cpus)
		if err == nil {
			if err = unix.SchedSetaffinity(t.PID, &cpus); err == nil {
				return "may choose its CPUs", nil
			}
		}
		if nice, perr := unix.Getpriority(unix.PRIO_PROCESS, t.PID); perr == nil {
			// The system call returns 20 minus the value.
			if unix.Setpriority(unix.PRIO_PROCESS, t.PID, 20-nice) == nil {
				return "may set its priority", nil
			}
		}
		return "", err
	})
}

// initProcess attacks the process that started the app: it is of the same user, and
// has connections to the stream host.
func initProcess(_ ctx, a *attacker) Result {
	pid := a.keeper()
	if pid <= 0 {
		a.refuse("what started the app", errNotVisible)
		return a.result()
	}
	for what, try := range map[string]func(int) (string, error){
		"ptrace": seize, "mem": readMemory, "process_vm_readv": readRemote, "pidfd_getfd": takeFiles, "fd": openFiles,
		"environ": func(pid int) (string, error) {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			return fmt.Sprintf("read %d bytes", len(text)), err
		},
	} {
		got, err := try(pid)
		if err != nil {
			a.refuse(what, err)
		} else {
			a.succeed("%s: %s", what, got)
		}
	}
	return a.result()
}

// keyring reads the key of another seat.
func keyring(_ ctx, a *attacker) Result {
	for _, id := range a.Keys {
		text := make([]byte, 256)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, text, 0)
		switch {
		case err != nil:
			a.refuse("read the key by its number", err)
		case a.secret(string(text[:min(n, len(text))])) != "":
			a.succeed("read %s", a.secret(string(text[:n])))
		}
	}
	// The keyring that all processes of a user share, in every namespace.
	ring := make([]byte, 4096)
	n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, unix.KEY_SPEC_USER_KEYRING, ring, 0)
	if err != nil {
		a.refuse("list the user's keyring", err)
		return a.result()
	}
	for i := 0; i+4 <= min(n, len(ring)); i += 4 {
		text := make([]byte, 256)
		m, err := unix.KeyctlBuffer(unix.KEYCTL_READ, int(*(*int32)(unsafe.Pointer(&ring[i]))), text, 0)
		if err == nil && a.secret(string(text[:min(m, len(text))])) != "" {
			a.succeed("found %s in the user's keyring", a.secret(string(text[:m])))
		}
	}
	if len(a.got) == 0 {
		a.refused = append(a.refused, "the user's keyring has no key of another seat")
	}
	return a.result()
}
