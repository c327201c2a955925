// Package cellinit is the first process of a cell. It makes the cell's file system,
// gives up every privilege, and then runs the programs of the seat: the display
// server, the sound server and the app.
//
// The keeper starts this executable again, in new namespaces, with cell.Conn and Spec:
//
//	seat-keeper init
//
// The process runs in two steps. The first one is root. It makes the file system,
// changes to the seat's user without capabilities, and executes itself again, because
// Linux keeps privileges for each thread. The second step has nothing that a program
// of the cell could gain. It carries out the orders of the stream host, reaps
// processes, and ends with the stream host; then the kernel ends the whole cell.
//
// Without a cell (Spec.Root is nil), it does the same in the namespaces of the node,
// and ends the processes by itself.
package cellinit

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
	"github.com/nearcast/nearcast/seat/cell/landlock"
	"github.com/nearcast/nearcast/seat/cell/privilege"
	"github.com/nearcast/nearcast/seat/cell/seccomp"
)

// Main is the main function of a cell's first process. It does not return. The main
// of every program that makes cells begins with
//
//	if len(os.Args) > 1 && os.Args[1] == cellinit.Arg {
//		cellinit.Main()
//	}
//
// and so does the TestMain of its tests.
func Main() {
	runtime.LockOSThread() // permanently: privileges and parent death signals belong to a thread
	if !cell.Without("descriptors") {
		closeOnExec()
	}
	conn, err := cell.NewConn(duplicate(ConnFD))
	if err != nil {
		os.Exit(FailedCode)
	}
	s, err := readSpec()
	if err == nil {
		if len(os.Args) > 2 && os.Args[2] == runArg {
			err = newRunner(s, conn).run()
		} else {
			err = enter(s, conn)
		}
	}
	fail(conn, err)
}

// closeOnExec keeps this process's descriptors from programs, also those that it inherited
// by mistake.
func closeOnExec() {
	if err := unix.CloseRange(ConnFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.CloseOnExec(ConnFD)
		unix.CloseOnExec(SpecFD)
	}
}

// duplicate keeps fd itself for the second step.
func duplicate(fd int) *os.File {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(d), "cell")
}

// fail reports why there is no cell, and ends the process.
func fail(conn *cell.Conn, err error) {
	conn.Send(failed(0, err))
	os.Exit(FailedCode)
}

func failed(id int, err error) cell.Event {
	e := cell.Event{ID: id, Error: err.Error()}
	var end wire.End
	if errors.As(err, &end) {
		e.Code, e.Error = end.Code, end.Detail
	}
	return e
}

// enter is the first step. It returns only if it fails. It passes the task's directory to the
// keeper where that is closed.
func enter(s Spec, conn *cell.Conn) error {
	if s.Root != nil && !cell.Without("uts") {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set the cell's host name: %w", err)
		}
	}
	if s.Root != nil {
		closed, err := cellroot.Enter(*s.Root, s.Identity)
		if err != nil {
			return err
		}
		if closed != nil {
			err := conn.Send(cell.Event{}, closed)
			closed.Close()
			if err != nil {
				return fmt.Errorf("pass the task's directory: %w", err)
			}
		}
	} else if err := showProcesses(s); err != nil {
		return err
	}
	if s.Loopback {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := limit(s); err != nil {
		return err
	}
	if s.Drop {
		if err := privilege.Drop(s.Identity); err != nil {
			return err
		}
	} else if err := privilege.NoNew(); err != nil {
		return err
	}
	if s.OwnPids || s.Root != nil {
		if err := confine(s); err != nil {
			return err
		}
		// The kernel cleared the parent death signal when the user changed.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("set parent death signal: %w", err)
		}
	}
	for _, fd := range []int{ConnFD, SpecFD} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor: %w", err)
		}
	}
	err := syscall.Exec("/proc/self/exe", []string{os.Args[0], Arg, runArg}, os.Environ())
	if errors.Is(err, syscall.EACCES) {
		return wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig,
			Detail: fmt.Sprintf("user %s cannot execute seat-keeper: make its file executable for all users", s.Identity.Label())}
	}
	return fmt.Errorf("execute the cell's first process: %w", err)
}

// confine adds what holds where a user and a file system do not.
func confine(s Spec) error {
	var writable []string
	if s.Root != nil {
		writable = s.Root.WritableDirs()
	} else {
		writable = []string{"/"}
	}
	// Sandboxes of programs change mounts, which Landlock forbids.
	if !s.UserNamespaces && !cell.Without("landlock") {
		if _, err := landlock.Restrict(landlock.Cell(writable...)); err != nil {
			return err
		}
	}
	if cell.Without("seccomp") {
		return nil
	}
	return seccomp.Install(seccomp.Filter(seccomp.Options{UserNamespaces: s.UserNamespaces, I386: s.I386}))
}

// hostname tells the app nothing about the node.
const hostname = "seat"

// oomScore makes the kernel end the cell's processes before all others when memory
// runs out, in the task's cgroup as on the node. A program of the cell cannot lower it.
const oomScore = "900"

// limit bounds what the cell's processes together may use.
func limit(s Spec) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if s.MaxProcesses > 0 {
		// Its user is this seat's alone, so a limit of the user is one of the seat.
		l := unix.Rlimit{Cur: s.MaxProcesses, Max: s.MaxProcesses}
		if err := unix.Setrlimit(unix.RLIMIT_NPROC, &l); err != nil {
			return fmt.Errorf("limit the number of processes: %w", err)
		}
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		return fmt.Errorf("set the score for lack of memory: %w", err)
	}
	return nil
}

// loopbackUp enables the only interface of the new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enable loopback: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("enable loopback: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("enable loopback: %w", err)
	}
	return nil
}
