package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/nearcast/nearcast/seat/cell"
)

// child is a process that the keeper started.
type child struct {
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // of exec.Cmd's Wait, before done is closed
}

// start starts a process on a thread of its own, after that thread has given up what
// the process must not have. The thread does nothing else until the process is gone:
// the process ends with it. Then the thread ends, with all that it gave up.
func start(cmd *exec.Cmd, giveUp func() error) (*child, error) {
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock
		err := giveUp()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			started <- err
			return
		}
		c.pid = cmd.Process.Pid
		started <- nil
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// result is how the process ended.
func (c *child) result(cmd *exec.Cmd) cell.Result {
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return cell.Result{Signal: int(status.Signal())}
	}
	return cell.Result{ExitCode: cmd.ProcessState.ExitCode()}
}

func (c *child) kill() { c.signal(syscall.SIGKILL) }

func (c *child) signal(s syscall.Signal) {
	select {
	case <-c.done:
	default:
		syscall.Kill(c.pid, s)
	}
}

// credential changes a child's user. Nil is no change.
func credential(id cell.Identity) *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	groups := make([]uint32, len(id.Groups))
	for i, g := range id.Groups {
		groups[i] = uint32(g)
	}
	return &syscall.Credential{Uid: uint32(id.UID), Gid: uint32(id.GID), Groups: groups}
}

// self is this executable, also after an upgrade has replaced its file.
const self = "/proc/self/exe"

func failed(code, format string, args ...any) error { return end(code, fmt.Errorf(format, args...)) }
