package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// killTimeout is how long the parent process has to end everything when asked,
// before it is killed itself.
const killTimeout = 3 * time.Second

// Process is a running application with all its descendants. Its methods are
// safe for concurrent use.
type Process struct {
	log     *slog.Logger
	parent  int // pid of the parent process
	isolate bool
	control *os.File
	started chan message // the first word of the parent process

	done chan struct{}

	mu      sync.Mutex
	ended   bool
	pid     int
	next    int
	waiting map[int]chan message
	exit    message
}

// start runs the parent process and lets it start the application.
func start(ctx context.Context, cfg Config, s spec) (_ *Process, err error) {
	var files []*os.File
	closeFiles := func() {
		for _, f := range files {
			f.Close()
		}
	}
	defer closeFiles()
	open := func(path string) *os.File {
		if err != nil {
			return nil
		}
		var f *os.File
		if f, err = openOutput(path); err != nil {
			err = problem(wire.CodeConfig, fmt.Sprintf("open the application's output: %v", err))
			return nil
		}
		files = append(files, f)
		return f
	}
	stdout, stderr := open(cfg.Stdout), open(cfg.Stderr)
	if err != nil {
		return nil, err
	}
	specFile, err := s.file()
	if err != nil {
		return nil, err
	}
	files = append(files, specFile)
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	files = append(files, theirs)

	cmd := exec.Command("/proc/self/exe", InitArg)
	cmd.Args[0] = "nearcast-app"
	cmd.Dir = "/"
	cmd.Env = []string{} // nothing of ours, not even for a moment
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v) // this executable may need it
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{theirs, specFile} // controlFD, specFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Isolate {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if s.Loopback {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
		}
		// Beside the end of the control connection, which tells the parent
		// process the same: this cannot be missed. Without a pid namespace it
		// would end the parent before it could end the others.
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}

	p := &Process{
		log: cfg.Log, isolate: s.Isolate, control: ours,
		started: make(chan message, 1), done: make(chan struct{}),
		waiting: map[int]chan message{},
	}
	launched := make(chan error, 1)
	go p.run(cmd, launched)
	err = <-launched
	closeFiles() // the child has its own; while ours were open, we would not hear its end
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start the application's parent process: %w", err)
	}
	if err := p.begin(ctx, cfg.Cgroup); err != nil {
		unix.Kill(p.parent, unix.SIGKILL)
		<-p.done
		return nil, err
	}
	return p, nil
}

// run starts the parent process and stays until it is gone. The parent death
// signal is that of the *thread* that starts a process, so this thread does
// nothing else.
func (p *Process) run(cmd *exec.Cmd, launched chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		launched <- err
		return
	}
	p.parent = cmd.Process.Pid
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		p.hear()
	}()
	launched <- nil
	err := cmd.Wait()
	// Its last words are in the socket's buffer; nobody else holds the other end.
	<-heard
	p.control.Close()
	p.mu.Lock()
	p.ended = true
	if p.exit.Event != eventExited {
		// Killed from outside, by the kernel's out-of-memory killer or by us.
		p.exit = message{Event: eventExited, Signal: int(unix.SIGKILL)}
		p.log.Warn("the application's parent process ended without a word", "error", err)
	}
	p.mu.Unlock()
	close(p.done)
}

// hear takes what the parent process says until it is gone.
func (p *Process) hear() {
	dec := json.NewDecoder(p.control)
	for {
		var m message
		if err := dec.Decode(&m); err != nil {
			return
		}
		switch m.Event {
		case eventStarted, eventFailed:
			if m.Event == eventFailed {
				p.mu.Lock()
				p.exit = message{Event: eventExited, ExitCode: failedCode}
				p.mu.Unlock()
			}
			select {
			case p.started <- m:
			default:
			}
		case eventExited:
			p.mu.Lock()
			p.exit = m
			p.mu.Unlock()
		case eventReply:
			p.mu.Lock()
			if c := p.waiting[m.ID]; c != nil {
				c <- m
				delete(p.waiting, m.ID)
			}
			p.mu.Unlock()
		}
	}
}

// begin lets the parent process start the application.
func (p *Process) begin(ctx context.Context, cgroup string) error {
	if cgroup != "" {
		// Before there is an application, so that all of it is inside.
		err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(p.parent)), 0)
		if err != nil {
			return fmt.Errorf("put the application into its cgroup: %w", err)
		}
	}
	if err := p.send(message{Op: opStart}); err != nil {
		return fmt.Errorf("start the application: %w", err)
	}
	select {
	case m := <-p.started:
		return p.welcome(m)
	case <-ctx.Done():
		return fmt.Errorf("start the application: %w", ctx.Err())
	case <-p.done:
		select {
		case m := <-p.started:
			return p.welcome(m)
		default:
			return errors.New("the application's parent process died before it started the application")
		}
	}
}

func (p *Process) welcome(m message) error {
	if m.Event == eventFailed {
		if m.Code == "" {
			return errors.New(m.Detail)
		}
		return problem(m.Code, m.Detail)
	}
	pid := m.PID
	if p.isolate {
		pid = fromNamespace(p.parent, m.PID)
	}
	p.mu.Lock()
	p.pid = pid
	p.mu.Unlock()
	return nil
}

func (p *Process) send(m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = p.control.Write(append(b, '\n'))
	return err
}

// ask has the parent process do something, and waits until it is done.
func (p *Process) ask(m message) error {
	answer := make(chan message, 1)
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return os.ErrProcessDone
	}
	p.next++
	m.ID = p.next
	p.waiting[m.ID] = answer
	err := p.send(m)
	p.mu.Unlock()
	if err != nil {
		return os.ErrProcessDone
	}
	select {
	case a := <-answer:
		if a.Detail != "" {
			return errors.New(a.Detail)
		}
		return nil
	case <-p.done:
		return os.ErrProcessDone
	}
}

// PID is the application's process id as this process sees it; 0 if it ended
// before anybody could look.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

// Pids lists the application and its descendants, as this process sees them.
func (p *Process) Pids() []int {
	select {
	case <-p.done:
		return nil
	default:
		return descendants(p.parent)
	}
}

// CPU is the processor time that the application and its descendants used, of
// those that live, and of those that they reaped.
func (p *Process) CPU() (sum time.Duration) {
	for _, pid := range p.Pids() {
		sum += cpuOf(pid)
	}
	return sum
}

// Done is closed when the application and all its descendants are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is the application's exit code, or the number of the signal that ended
// it. It is known once Done is closed.
func (p *Process) Exit() (code, signal int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit.ExitCode, p.exit.Signal
}

// Signal sends the named signal ("SIGHUP") to the application's main process.
func (p *Process) Signal(name string) error {
	sig := unix.SignalNum(name)
	if sig == 0 {
		return fmt.Errorf("unknown signal %q: give a name like SIGHUP", name)
	}
	if err := p.ask(message{Op: opSignal, Signal: int(sig)}); err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	return nil
}

// Freeze stops the application and its descendants: they keep their memory and
// use no processor.
func (p *Process) Freeze() error {
	if err := p.ask(message{Op: opFreeze}); err != nil {
		return fmt.Errorf("freeze the application: %w", err)
	}
	return nil
}

// Thaw lets a frozen application go on.
func (p *Process) Thaw() error {
	if err := p.ask(message{Op: opThaw}); err != nil {
		return fmt.Errorf("thaw the application: %w", err)
	}
	return nil
}

// Stop thaws the application, sends it the named signal (empty is SIGTERM), and
// kills what is left after the timeout. The signal goes to the application's
// whole process group, so that a shell around it does not keep it. It returns
// when nothing is left; an unknown signal is an error, after everything is gone.
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
		p.log.Warn("stop the application", "error", err)
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
		p.log.Warn("the application's parent process does not end; killing it")
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

// socketPair makes the control connection.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make control connection: %w", err)
	}
	// Non-blocking, so that closing ours ends a read from it.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("make control connection: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}
