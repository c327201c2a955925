package app

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
)

// killTimeout is how long the cell has to end the app on request, before the cell
// itself is ended.
const killTimeout = 3 * time.Second

// Process is a running app with all its processes. Its methods are safe for
// concurrent use.
type Process struct {
	cell    *cell.Client
	process *cell.Process
}

// PID is the app's process id as this process sees it. It is 0 if the app ended
// before its id could be read.
func (p *Process) PID() int { return p.process.PID }

// InitPID is the process id of the cell's first process.
func (p *Process) InitPID() int { return p.cell.Init() }

// CPU is the processor time of the app's living processes, including the children
// that they waited for.
func (p *Process) CPU() time.Duration { return p.cell.CPU() }

// Done is closed when the app and all its processes are gone.
func (p *Process) Done() <-chan struct{} { return p.process.Done() }

// Exit returns the app's exit code, or the number of the signal that ended it. It
// is known once Done is closed.
func (p *Process) Exit() (code, signal int) {
	r := p.process.Result()
	return r.ExitCode, r.Signal
}

// Signal sends the named signal ("SIGHUP") to the app's main process.
func (p *Process) Signal(name string) error {
	sig := unix.SignalNum(name)
	if sig == 0 {
		return fmt.Errorf("unknown signal %q: give a name such as SIGHUP", name)
	}
	if err := p.process.Signal(int(sig), false); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	return nil
}

// Freeze stops the app's processes: they keep their memory and use no processor time.
func (p *Process) Freeze() error {
	if err := p.cell.Freeze(); err != nil {
		return fmt.Errorf("freeze the app: %w", err)
	}
	return nil
}

// Thaw lets a frozen app run again.
func (p *Process) Thaw() error {
	if err := p.cell.Thaw(); err != nil {
		return fmt.Errorf("thaw the app: %w", err)
	}
	return nil
}

// Stop thaws the app, sends it the named signal (empty is SIGTERM), and kills
// what still runs after the timeout. The signal goes to the app's whole process
// group, because a shell around the app would not pass it on. Stop returns when
// no process is left. An unknown signal is an error, returned after that.
func (p *Process) Stop(signal string, timeout time.Duration) error {
	if signal == "" {
		signal = "SIGTERM"
	}
	var problem error
	sig := unix.SignalNum(signal)
	if sig == 0 {
		problem = fmt.Errorf("unknown signal %q: sent SIGTERM instead", signal)
		sig = unix.SIGTERM
	}
	err := p.cell.Thaw()
	if err == nil {
		err = p.process.Signal(int(sig), true)
	}
	if errors.Is(err, cell.ErrEnded) {
		err = nil
	}
	if p.waitDone(timeout) {
		return problem
	}
	if killErr := p.cell.Kill(); !p.waitDone(killTimeout) {
		p.cell.Close()
		return errors.Join(problem, fmt.Errorf("the app did not end, and the cell was ended: %w", errors.Join(err, killErr)))
	}
	return problem
}

func (p *Process) waitDone(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.Done():
		return true
	case <-t.C:
		return false
	}
}
