package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// start starts the parent process and lets it start the app.
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
			err = problem(wire.CodeConfig, fmt.Sprintf("open the app's output: %v", err))
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
	cmd.Env = []string{} // the app must not see ours
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v) // this executable may need it
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{theirs, specFile} // connFD, specFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Isolate {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if s.Loopback {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
		}
		// The parent process also notices the end of the connection, but
		// this cannot fail. Without a pid namespace, it would end the parent
		// before the parent could end the others.
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}

	p := &Process{
		log: cfg.Log, isolate: s.Isolate, conn: ours,
		started: make(chan message, 1), done: make(chan struct{}),
		waiting: map[int]chan message{},
	}
	launched := make(chan error, 1)
	go p.run(cmd, launched)
	err = <-launched
	closeFiles() // the child has copies; while ours are open, we do not notice its end
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("start the app's parent process: %w", err)
	}
	if err := p.begin(ctx, cfg.Cgroup); err != nil {
		unix.Kill(p.parent, unix.SIGKILL)
		<-p.done
		return nil, err
	}
	return p, nil
}

// run starts the parent process and returns when it is gone. The parent death
// signal is sent when the *thread* that started the process ends, so this thread
// does nothing else.
func (p *Process) run(cmd *exec.Cmd, launched chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		launched <- err
		return
	}
	p.parent = cmd.Process.Pid
	received := make(chan struct{})
	go func() {
		defer close(received)
		p.receive()
	}()
	launched <- nil
	err := cmd.Wait()
	// The socket's buffer may still hold its last messages.
	<-received
	p.conn.Close()
	p.mu.Lock()
	p.ended = true
	if p.exit.Event != eventExited {
		// It was killed, by the kernel's out-of-memory killer or by this process.
		p.exit = message{Event: eventExited, Signal: int(unix.SIGKILL)}
		p.log.Warn("the app's parent process was killed", "error", err)
	}
	p.mu.Unlock()
	close(p.done)
}

// receive handles the messages of the parent process until it is gone.
func (p *Process) receive() {
	dec := json.NewDecoder(p.conn)
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

// begin lets the parent process start the app.
func (p *Process) begin(ctx context.Context, cgroup string) error {
	if cgroup != "" {
		// Before the app starts, so that all its processes are in the cgroup.
		err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(p.parent)), 0)
		if err != nil {
			return fmt.Errorf("put the app into its cgroup: %w", err)
		}
	}
	if err := p.send(message{Op: opStart}); err != nil {
		return fmt.Errorf("start the app: %w", err)
	}
	select {
	case m := <-p.started:
		return p.appStarted(m)
	case <-ctx.Done():
		return fmt.Errorf("start the app: %w", ctx.Err())
	case <-p.done:
		select {
		case m := <-p.started:
			return p.appStarted(m)
		default:
			return errors.New("the app's parent process died before it started the app")
		}
	}
}

// appStarted handles the parent process's first message.
func (p *Process) appStarted(m message) error {
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
	_, err = p.conn.Write(append(b, '\n'))
	return err
}

// ask sends an order to the parent process and waits until it is carried out.
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

// socketPair makes the connection between this process and the parent process.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect with the parent process: %w", err)
	}
	// Non-blocking, so that Close ends a pending read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("connect with the parent process: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "app-init"), os.NewFile(uintptr(fds[1]), "app-init"), nil
}
