package attack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// forkBomb makes processes until it may not, or has MaxProcesses.
func forkBomb(c ctx, a *attacker) Result {
	var pids []int
	var stopped error
	for len(pids) < a.MaxProcesses && c.Err() == nil {
		pid, errno := spawnIdle()
		if errno != 0 {
			stopped = errno
			break
		}
		pids = append(pids, pid)
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	for _, pid := range pids {
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
	switch {
	case stopped != nil:
		a.refuse(fmt.Sprintf("after %d processes", len(pids)), stopped)
	case len(pids) < a.MaxProcesses: // slow, but nothing refused
		a.lack("made only %d processes in the time", len(pids))
	default:
		a.succeed("made %d processes", len(pids))
	}
	return a.result()
}

// spawnIdle makes a process that does nothing, and ends with this one. It is no Go
// program: only raw system calls may follow the fork.
//
//go:norace
//go:noinline
func spawnIdle() (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	for {
		syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// fill takes the disk or memory below a directory, until it may not or has MaxBytes.
func (a *attacker) fill(c ctx, dir string) Result {
	if dir == "" {
		a.lack("no directory is known")
		return a.result()
	}
	path := filepath.Join(dir, a.Tag+"-fill")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		a.refuse("create a file in "+dir, err)
		return a.result()
	}
	if !a.Keep {
		defer os.Remove(path)
	}
	defer f.Close()
	const step = 16 << 20
	var size int64
	var zeros []byte
	for size < a.MaxBytes && c.Err() == nil {
		err = unix.Fallocate(int(f.Fd()), 0, size, step)
		if errors.Is(err, unix.EOPNOTSUPP) {
			if zeros == nil {
				zeros = make([]byte, step)
			}
			_, err = f.Write(zeros)
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			break
		}
		if err == nil {
			size += step
		}
	}
	switch {
	case size >= a.MaxBytes:
		a.succeed("filled %s with %d MiB", dir, size>>20)
	case err != nil:
		a.refuse(fmt.Sprintf("after %d MiB in %s", size>>20, dir), err)
	default:
		a.lack("wrote only %d MiB to %s in the time", size>>20, dir)
	}
	return a.result()
}

// fillInodes makes empty files, which take no bytes but the file system's table.
func fillInodes(c ctx, a *attacker) Result {
	const most = 60_000
	dir := filepath.Join("/tmp", a.Tag+"-inodes")
	if err := os.Mkdir(dir, 0o700); err != nil {
		a.refuse("make a directory in /tmp", err)
		return a.result()
	}
	made := 0
	var err error
	for made < most && c.Err() == nil {
		if err = unix.Mknod(filepath.Join(dir, strconv.Itoa(made)), unix.S_IFREG|0o600, 0); err != nil {
			break
		}
		made++
	}
	if !a.Keep {
		_ = os.RemoveAll(dir)
	}
	switch {
	case err != nil:
		a.refuse(fmt.Sprintf("after %d files", made), err)
	case made < most:
		a.lack("made only %d files in the time", made)
	default:
		a.succeed("made %d files in /tmp", made)
	}
	return a.result()
}

// fillSysvShm takes many of the ids that a namespace has.
func fillSysvShm(_ ctx, a *attacker) Result {
	var ids []int
	var err error
	for len(ids) < 1000 {
		var id int
		if id, err = unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600); err != nil {
			break
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
	own, _ := os.Readlink("/proc/self/ns/ipc")
	switch {
	case err != nil:
		a.refuse(fmt.Sprintf("after %d segments", len(ids)), err)
	case own != a.Namespaces["ipc"]:
		a.refused = append(a.refused, fmt.Sprintf("made %d segments, but of the seat's own namespace", len(ids)))
	default:
		a.succeed("made %d segments in the node's namespace", len(ids))
	}
	return a.result()
}

// exhaustUser takes all that the kernel gives a user at most, which another seat of the
// same user then lacks.
func exhaustUser(_ ctx, a *attacker) Result {
	if a.User == 0 {
		a.lack("the user of the other seat was not given")
		return a.result()
	}
	instances := 0
	for instances < 10_000 {
		if _, err := unix.InotifyInit(); err != nil { // closed with this process
			break
		}
		instances++
	}
	if os.Geteuid() != a.User {
		a.refused = append(a.refused, fmt.Sprintf("took %d inotify instances, but of a user of its own", instances))
	} else {
		a.succeed("took all %d inotify instances of the user of both seats", instances)
	}
	return a.result()
}

// exhaustTerminals opens pseudo-terminals, of which the whole node has 4096.
func exhaustTerminals(_ ctx, a *attacker) Result {
	const most = 1000
	limit := unix.Rlimit{}
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	}
	var err error
	opened := 0
	for opened < most {
		if _, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0); err != nil {
			break
		}
		opened++ // they are closed with this process
	}
	if err != nil {
		a.refuse(fmt.Sprintf("after %d terminals", opened), err)
	} else {
		a.succeed("opened %d terminals of the node's 4096", opened)
	}
	return a.result()
}

// memoryHog takes memory until it is killed, or has MaxBytes.
func memoryHog(c ctx, a *attacker) Result {
	const step = 16 << 20
	var held [][]byte
	var size int64
	for size < a.MaxBytes && c.Err() == nil {
		piece, err := unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
		if err != nil {
			a.refuse(fmt.Sprintf("after %d MiB", size>>20), err)
			return a.result()
		}
		held = append(held, piece)
		size += step
	}
	a.succeed("holds %d MiB", len(held)*step>>20)
	return a.result()
}

// logFlood prints 100 MB.
func logFlood(c ctx, a *attacker) Result {
	block := make([]byte, 0, 100_000)
	for len(block) < 99_000 {
		block = append(block, "flood flood flood flood flood flood flood flood flood flood flood flood flood flood flood flood!!!!\n"...)
	}
	printed := 0
	for printed < 100_000_000 && c.Err() == nil {
		n, err := os.Stdout.Write(block)
		printed += n
		if err != nil {
			a.refuse(fmt.Sprintf("after %d bytes", printed), err)
			return a.result()
		}
	}
	a.succeed("printed %d bytes", printed)
	return a.result()
}
