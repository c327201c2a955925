package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout is how long the parent process has to end everything on request,
// before it is killed itself.
const killTimeout = 3 * time.Second

// Process is a running app with all its descendants. Its methods are safe for
// concurrent use.
type Process struct {
	log     *slog.Logger
	parent  int // pid of the parent process
	isolate bool
	conn    *os.File
	started chan message // the parent process's first message

	done chan struct{}

	mu      sync.Mutex
	ended   bool
	pid     int
	next    int
	waiting map[int]chan message
	exit    message
}

// PID is the app's process id as this process sees it. It is 0 if the app ended
// before its id could be read.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Pids lists the app and its descendants, as this process sees them.
func (p *Process) Pids() []int {
	select {
	case <-p.done:
		return nil
	default:
		stats := descendants(p.parent)
		pids := make([]int, len(stats))
		for i, stat := range stats {
			pids[i] = stat.PID
		}
		return pids
	}
}

// CPU is the processor time of the app and its living descendants, including
// the children that they reaped.
func (p *Process) CPU() (sum time.Duration) {
	select {
	case <-p.done:
		return 0
	default:
	}
	for _, stat := range descendants(p.parent) {
		sum += cpuTime(stat)
	}
	return sum
}

// Done is closed when the app and all its descendants are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit returns the app's exit code, or the number of the signal that ended it. It
// is known once Done is closed.
func (p *Process) Exit() (code, signal int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit.ExitCode, p.exit.Signal
}

// Signal sends the named signal ("SIGHUP") to the app's main process.
func (p *Process) Signal(name string) error {
	sig := unix.SignalNum(name)
	if sig == 0 {
		return fmt.Errorf("unknown signal %q: give a name such as SIGHUP", name)
	}
	if err := p.ask(message{Op: opSignal, Signal: int(sig)}); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	return nil
}

// Freeze stops the app and its descendants: they keep their memory and use no
// processor time.
func (p *Process) Freeze() error {
	if err := p.ask(message{Op: opFreeze}); err != nil {
		return fmt.Errorf("freeze the app: %w", err)
	}
	return nil
}

// Thaw lets a frozen app run again.
func (p *Process) Thaw() error {
	if err := p.ask(message{Op: opThaw}); err != nil {
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
	err := p.ask(message{Op: opThaw})
	if err == nil {
		err = p.ask(message{Op: opStop, Signal: int(sig)})
	}
	if errors.Is(err, os.ErrProcessDone) {
		<-p.done
		return problem
	}
	if err != nil {
		p.log.Warn("stop the app", "error", err)
	}
	if p.waitDone(timeout) {
		return problem
	}
	p.mu.Lock()
	if !p.ended {
		p.send(message{Op: opKill})
	}
	p.mu.Unlock()
	if !p.waitDone(killTimeout) {
		p.log.Warn("the app's parent process did not end in time; killing it")
		unix.Kill(p.parent, unix.SIGKILL)
		<-p.done
	}
	return problem
}

func (p *Process) waitDone(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}
