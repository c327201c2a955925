package cell

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Local runs programs on this node without a cell: for what a node must show before
// it gets seats, and for tests. They run as the user of this process and end with it.
type Local struct {
	// Dir is the private directory for sockets and cookies.
	Dir string
}

var _ Runner = Local{}

// Start is a Runner's.
func (l Local) Start(_ context.Context, p Program, files ...*os.File) (*Process, error) {
	cmd := &exec.Cmd{
		Path: p.Path, Args: p.Args, Env: p.Env, Dir: p.Dir,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM},
	}
	null, err := fillNull(files)
	if err != nil {
		return nil, err
	}
	if null != nil {
		defer null.Close()
	}
	for i, f := range files {
		switch i {
		case 0:
			cmd.Stdin = f
		case 1:
			cmd.Stdout = f
		case 2:
			cmd.Stderr = f
		default:
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
	process := &Process{done: make(chan struct{})}
	process.signal = func(sig int, group bool) error {
		target := process.PID
		if group {
			target = -target
		}
		return unix.Kill(target, unix.Signal(sig))
	}
	// SIGTERM lets a server remove its files. The parent death signal comes when the
	// *thread* that started the child ends. So this thread does nothing else until the
	// child is gone.
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		process.PID = cmd.Process.Pid
		started <- nil
		cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			process.result.Signal = int(status.Signal())
		} else {
			process.result.ExitCode = cmd.ProcessState.ExitCode()
		}
		close(process.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	return process, nil
}

// WriteFile is a Runner's.
func (l Local) WriteFile(path string, content []byte) error {
	return os.WriteFile(path, content, 0o600)
}

// Dial is a Runner's.
func (l Local) Dial(path string) (*net.UnixConn, error) {
	return net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
}

// Remove is a Runner's.
func (l Local) Remove(path string) error { return os.Remove(path) }

// Open is a Runner's.
func (l Local) Open(path string) (*os.File, error) { return OpenPath(path) }

// OpenPath returns a descriptor that only names the file at path.
func OpenPath(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Runtime is a Runner's.
func (l Local) Runtime() string { return l.Dir }

// DisplayNumber is a Runner's.
func (l Local) DisplayNumber() int { return -1 }
