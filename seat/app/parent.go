package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// parent is the second step of the parent process. It runs as the app's user.
type parent struct {
	spec
	orders *json.Decoder
	conn   *os.File

	mu  sync.Mutex // held to signal and to reap, so that a pid is not reused in between
	pid int        // of the app's main process; 0 before and after
}

func newParent(s spec, conn *os.File) *parent {
	return &parent{spec: s, conn: conn, orders: json.NewDecoder(conn)}
}

// run starts the app and ends this process when the app ends. It returns only if
// the app did not start.
func (p *parent) run() error {
	// The app has the same user, and must not read this process's memory.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set undumpable: %w", err)
	}
	if !p.Isolate {
		// The kernel gives orphans to this process, as in a pid namespace.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("become subreaper: %w", err)
		}
	}
	var m message
	if err := p.orders.Decode(&m); err != nil || m.Op != opStart {
		os.Exit(failedCode) // the stream host is gone
	}
	path, err := p.find()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)

	pid, err := syscall.ForkExec(path, append([]string{p.Command}, p.Args...), &syscall.ProcAttr{
		Dir: p.Dir, Env: p.Env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return cannotExecute(path, err)
	}
	p.pid = pid
	p.send(message{Event: eventStarted, PID: pid})

	go func() {
		for s := range signals {
			p.signal(s.(syscall.Signal), false)
		}
	}()
	go p.readOrders()

	status := p.reap()
	m = message{Event: eventExited, ExitCode: status.ExitStatus()}
	code := m.ExitCode
	if status.Signaled() {
		m.ExitCode, m.Signal = 0, int(status.Signal())
		code = 128 + m.Signal
	}
	p.endAll()
	p.send(m)
	os.Exit(code)
	return nil
}

func (p *parent) send(m message) { json.NewEncoder(p.conn).Encode(m) }

// readOrders carries out orders until the stream host is gone, then kills the app.
func (p *parent) readOrders() {
	for {
		var m message
		if err := p.orders.Decode(&m); err != nil {
			p.signalAll(unix.SIGKILL) // then run ends
			return
		}
		var err error
		switch m.Op {
		case opSignal:
			err = p.signal(syscall.Signal(m.Signal), false)
		case opStop:
			err = p.signal(syscall.Signal(m.Signal), true)
		case opFreeze:
			p.signalAll(unix.SIGSTOP)
		case opThaw:
			p.signalAll(unix.SIGCONT)
		case opKill:
			p.signalAll(unix.SIGKILL)
		default:
			err = fmt.Errorf("unknown order %q", m.Op)
		}
		reply := message{Event: eventReply, ID: m.ID}
		if err != nil {
			reply.Detail = err.Error()
		}
		p.send(reply)
	}
}

// signal signals the app's main process, or its process group.
func (p *parent) signal(s syscall.Signal, group bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return nil // it has ended; run reports that
	}
	target := p.pid
	if group {
		target = -p.pid
	}
	err := syscall.Kill(target, s)
	if group && errors.Is(err, syscall.ESRCH) {
		err = syscall.Kill(p.pid, s) // it has left its group
	}
	return err
}

// signalAll signals the app and all its descendants.
func (p *parent) signalAll(s syscall.Signal) {
	if p.Isolate {
		syscall.Kill(-1, s) // every process of the namespace except this one, in one step
		return
	}
	// One after the other, until there is no new process: a process that was
	// forked meanwhile did not get the signal.
	seen := map[int]bool{}
	for found := true; found; {
		found = false
		for _, stat := range descendants(os.Getpid()) {
			if !seen[stat.PID] {
				seen[stat.PID], found = true, true
				syscall.Kill(stat.PID, s)
			}
		}
	}
}

// reap reaps processes until the app's main process is among them.
func (p *parent) reap() syscall.WaitStatus {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0 // ECHILD: impossible before the app is reaped
		}
		p.mu.Lock()
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if pid <= 0 {
				break
			}
			if pid == p.pid {
				p.pid = 0
				p.mu.Unlock()
				return status
			}
		}
		p.mu.Unlock()
	}
}

// endAll kills and reaps the processes that outlived the app.
func (p *parent) endAll() {
	for {
		p.signalAll(unix.SIGKILL)
		_, err := syscall.Wait4(-1, nil, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}
