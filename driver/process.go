package driver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// A process is what /proc tells of one. Pids are reused: only pid and start time
// together name a process.
type process struct {
	pid, ppid int
	state     byte   // 'R', 'S', 'Z' …
	start     uint64 // clock ticks since boot
	// CPU time of the process and of the children that it has waited for.
	user, system time.Duration
	rss          int64 // bytes
}

// procID tells a process from another that gets the same pid later.
type procID struct {
	pid   int
	start uint64
}

func (p process) id() procID { return procID{p.pid, p.start} }

// alive is false for a process that has ended and whose parent has not waited for it.
func (p process) alive() bool { return p.state != 'Z' && p.state != 'X' }

// tick is the unit of times in /proc: 100 a second on every architecture that
// Nomad runs on.
const tick = time.Second / 100

func readProcess(pid int) (process, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return process{}, err
	}
	return stat(p)
}

func stat(p procfs.Proc) (process, error) {
	s, err := p.Stat()
	if err != nil {
		return process{}, err
	}
	return process{
		pid:    s.PID,
		ppid:   s.PPID,
		state:  s.State[0],
		start:  s.Starttime,
		user:   time.Duration(int(s.UTime)+s.CUTime) * tick,
		system: time.Duration(int(s.STime)+s.CSTime) * tick,
		rss:    int64(s.ResidentMemory()),
	}, nil
}

// processes lists all that run, as far as /proc shows them to this user.
func processes() ([]process, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	out := make([]process, 0, len(all))
	for _, p := range all {
		if s, err := stat(p); err == nil { // an error means that it has ended
			out = append(out, s)
		}
	}
	return out, nil
}

// marked reports whether a process has the nonce in its environment. This reads
// /proc without procfs, which makes a string of each variable: every process of
// the node is checked.
func marked(pid int, nonce string) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	want := []byte(nonceEnv + "=" + nonce)
	for kv := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.Equal(kv, want) {
			return true
		}
	}
	return false
}

// mark is how to tell the processes of a seat: by the nonce in their environment, and by
// the user ids that no other seat has.
type mark struct {
	nonce string
	users []int
}

// markOf is the mark of a seat with this spec. Whatever a spec says, no user of the
// system is a seat's: to end the processes of root would end the node.
func markOf(spec *wire.Spec) mark {
	m := mark{nonce: spec.Nonce}
	for _, id := range spec.OwnUsers {
		if id >= minUser {
			m.users = append(m.users, id)
		}
	}
	return m
}

// owns reports whether a process has one of the seat's user ids.
func (m mark) owns(pid int) bool {
	if len(m.users) == 0 {
		return false
	}
	p, err := procfs.NewProc(pid)
	if err != nil {
		return false
	}
	status, err := p.NewStatus()
	return err == nil && slices.Contains(m.users, int(status.UIDs[0]))
}

// family is every process of a seat: those with its mark, those already known (an
// app may clear its environment), and all their descendants.
func family(all []process, m mark, known map[procID]bool) []process {
	member := map[int]bool{}
	for _, p := range all {
		if p.pid != os.Getpid() && (known[p.id()] || m.owns(p.pid) || marked(p.pid, m.nonce)) {
			member[p.pid] = true
		}
	}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			if !member[p.pid] && member[p.ppid] {
				member[p.pid], grew = true, true
			}
		}
	}
	var out []process
	for _, p := range all {
		if member[p.pid] {
			out = append(out, p)
		}
	}
	return out
}

// A watch waits for the end of one process, which need not be a child, and never
// takes another process with the same pid for it.
type watch struct{ file *os.File }

// watchProcess fails where the process has ended.
func watchProcess(id procID) (*watch, error) {
	fd, err := unix.PidfdOpen(id.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open pidfd of %d: %w", id.pid, err)
	}
	// The pidfd holds one process now. Check that it is the one.
	p, err := readProcess(id.pid)
	if err != nil || p.start != id.start {
		unix.Close(fd)
		return nil, fmt.Errorf("process %d: %w", id.pid, os.ErrProcessDone)
	}
	return &watch{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait returns nil when the process has ended, and an error after close.
func (w *watch) wait() error {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return err == nil && n > 0
	})
}

// signal fails with os.ErrProcessDone where the process has ended.
func (w *watch) signal(sig unix.Signal) error {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := conn.Control(func(fd uintptr) {
		sent = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	}); err != nil {
		return err
	}
	if sent == unix.ESRCH {
		return os.ErrProcessDone
	}
	return sent
}

func (w *watch) close() { w.file.Close() }
