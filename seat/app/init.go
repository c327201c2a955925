package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// InitArg is the argument that makes this executable the app's parent process.
const InitArg = "app-init"

// runArg follows InitArg in the second step.
const runArg = "run"

// failedCode is the exit code of a parent process that could not start the app.
const failedCode = 125

// InitMain is the main function of the app's parent process. The main of every
// program that calls Start begins with
//
//	if len(os.Args) > 1 && os.Args[1] == app.InitArg {
//		app.InitMain() // does not return
//	}
//
// and so does the TestMain of its tests. The process runs in two steps. The
// first step has the privileges of the stream host. It prepares the namespaces
// and gives up all privileges. Linux keeps privileges for each thread, so it does
// this on one thread and then executes itself again, which ends all other
// threads. The second step is an ordinary parent process: it starts the app,
// reaps processes, passes signals on, and ends with the app.
func InitMain() {
	runtime.LockOSThread() // permanently: privileges and parent death signals belong to a thread
	// Also descriptors that this process inherited by mistake are not passed on.
	if err := unix.CloseRange(connFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.CloseOnExec(connFD)
		unix.CloseOnExec(specFD)
	}
	conn := os.NewFile(connFD, "app-init")
	s, err := readSpec()
	if err == nil {
		if len(os.Args) > 2 && os.Args[2] == runArg {
			err = newParent(s, conn).run()
		} else {
			err = enter(s)
		}
	}
	fail(conn, err)
}

// fail reports why the app did not start, and ends the process.
func fail(conn *os.File, err error) {
	m := message{Event: eventFailed, Detail: err.Error()}
	var end wire.End
	if errors.As(err, &end) {
		m.Code, m.Detail = end.Code, end.Detail
	}
	json.NewEncoder(conn).Encode(m)
	os.Exit(failedCode)
}

// enter is the first step. It returns only if it fails.
func enter(s spec) error {
	if s.Isolate {
		if err := makeView(s); err != nil {
			return err
		}
	}
	if s.Loopback {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := dropPrivileges(s); err != nil {
		return err
	}
	for _, fd := range []int{connFD, specFD} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor: %w", err)
		}
	}
	err := syscall.Exec("/proc/self/exe", []string{os.Args[0], InitArg, runArg}, os.Environ())
	if errors.Is(err, syscall.EACCES) {
		return problem(wire.CodeConfig, fmt.Sprintf("user %s cannot execute the stream host: make its file executable for all users", s.Identity.label()))
	}
	return fmt.Errorf("execute the parent process: %w", err)
}

func (id identity) label() string {
	if id.Name != "" {
		return id.Name
	}
	return fmt.Sprint(id.UID)
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
