package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

type ctx = context.Context

// sysvShm attaches the shared memory of others, and writes into it.
func sysvShm(_ ctx, a *attacker) Result {
	for _, s := range a.SharedMemory {
		err := a.attach(s)
		if err != nil {
			a.refuse(s.Role, err)
		}
	}
	listed := sysvList("shm")
	if len(a.SharedMemory) == 0 {
		a.lack("no segment was given; %d are listed", len(listed))
	}
	a.alsoListed("shm", listed)
	return a.result()
}

// attach takes the segment of this id, if it is the one that is meant.
func (a *attacker) attach(s Segment) error {
	var desc unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(s.ID, unix.IPC_STAT, &desc); err != nil {
		return err
	}
	if uint64(desc.Segsz) != s.Size {
		return errNotVisible // this id is another segment here
	}
	memory, err := unix.SysvShmAttach(s.ID, 0, 0) // to read and write
	if err != nil {
		return err
	}
	defer unix.SysvShmDetach(memory)
	touch(memory)
	switch {
	case a.secret(string(memory[:min(len(memory), 4096)])) != "":
		a.succeed("%s: read %s and wrote", s.Role, a.secret(string(memory[:min(len(memory), 4096)])))
	case s.Role == RoleBait:
		return errNotVisible // of the same size by chance
	default:
		a.succeed("%s: read and wrote %d bytes", s.Role, len(memory))
	}
	return nil
}

// touch writes what is there already.
func touch(memory []byte) {
	p := (*byte)(unsafe.Pointer(&memory[0]))
	was := *p
	*p = was
}

// sysvList reads the ids that the kernel lists to everybody.
func sysvList(kind string) (ids []int) {
	raw, _ := os.ReadFile("/proc/sysvipc/" + kind)
	for i, line := range strings.Split(string(raw), "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) > 1 {
			if id, err := strconv.Atoi(fields[1]); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (a *attacker) alsoListed(kind string, ids []int) {
	if len(a.refused) > 0 && len(a.got) == 0 {
		a.refused = append(a.refused, fmt.Sprintf("%d of any owner are listed in /proc/sysvipc/%s", len(ids), kind))
	}
}

// sysvMsg takes a message of another seat, and puts it back.
func sysvMsg(_ ctx, a *attacker) Result {
	for _, id := range a.Queues {
		var message struct {
			kind int64
			text [256]byte
		}
		n, _, errno := unix.Syscall6(unix.SYS_MSGRCV, uintptr(id), uintptr(unsafe.Pointer(&message)), uintptr(len(message.text)), 0, unix.IPC_NOWAIT, 0)
		if errno != 0 {
			a.refuse("receive", errno)
			continue
		}
		_, _, errno = unix.Syscall6(unix.SYS_MSGSND, uintptr(id), uintptr(unsafe.Pointer(&message)), n, unix.IPC_NOWAIT, 0, 0)
		if s := a.secret(string(message.text[:n])); s != "" {
			a.succeed("received %s, sent it again: %v", s, errno == 0)
		} else {
			a.refuse("receive", errNotVisible)
		}
	}
	a.alsoListed("msg", sysvList("msg"))
	return a.result()
}

// semaphoreValue marks the semaphore of Bait.
const semaphoreValue = 31213

// sysvSem reads and sets a semaphore of another seat.
func sysvSem(_ ctx, a *attacker) Result {
	const getVal, setVal = 12, 16
	for _, id := range a.Semaphores {
		value, _, errno := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, getVal, 0, 0, 0)
		if errno == 0 && value != semaphoreValue {
			a.refuse("read", errNotVisible)
			continue
		}
		if errno == 0 {
			_, _, errno = unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, setVal, value, 0, 0)
		}
		if errno != 0 {
			a.refuse("read and set", errno)
			continue
		}
		a.succeed("read the other seat's value %d, and set it", value)
	}
	a.alsoListed("sem", sysvList("sem"))
	return a.result()
}

// posixShm opens the files of others in /dev/shm.
func posixShm(_ ctx, a *attacker) Result {
	for _, path := range a.PosixMemory {
		a.readSecret(path, os.O_RDWR)
	}
	return a.result()
}

// readSecret opens a file and notes whether a secret is in it.
func (a *attacker) readSecret(path string, flags int) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		a.refuse(path, err)
		return
	}
	defer f.Close()
	text := make([]byte, 64<<10)
	n, err := f.Read(text)
	how := "read"
	if flags&os.O_RDWR != 0 {
		how = "opened to read and write"
	}
	switch s := a.secret(string(text[:n])); {
	case s != "":
		a.succeed("%s %s in %s", how, s, path)
	case n == 0 && err != nil:
		a.refuse(path, err)
	default:
		a.refuse(path, errors.New("another file of this name, without a secret"))
	}
}

// posixQueue takes a message of another seat's queue, and puts it back.
func posixQueue(_ ctx, a *attacker) Result {
	for _, name := range a.PosixQueues {
		q, err := openQueue(name, unix.O_RDWR|unix.O_NONBLOCK)
		if err != nil {
			a.refuse(name, err)
			continue
		}
		text := make([]byte, 8192)
		n, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDRECEIVE, uintptr(q), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0, 0, 0)
		if errno != 0 {
			a.refuse(name, errno)
		} else {
			text = bytes.Clone(text[:n])
			err := sendQueue(q, text)
			a.succeed("received %s, sent it again: %v", a.secret(string(text)), err == nil)
		}
		unix.Close(q)
	}
	return a.result()
}

// openQueue is mq_open, whose names begin with a slash that the kernel does not want.
func openQueue(name string, flags int) (int, error) {
	p, err := unix.BytePtrFromString(strings.TrimPrefix(name, "/"))
	if err != nil {
		return -1, err
	}
	q, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), uintptr(flags), 0o600, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(q), nil
}

func sendQueue(q int, text []byte) error {
	if _, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(q), uintptr(unsafe.Pointer(&text[0])), uintptr(len(text)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
