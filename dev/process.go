package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// service is a child process that must run: what to start, and how to check that it
// serves.
type service struct {
	name  string
	argv  []string
	env   []string
	log   string                   // file
	do    func(func() error) error // starts it in a network; nil is this process's own
	ready func(ctx context.Context) error
	grace time.Duration // between SIGTERM and SIGKILL
}

// process keeps one service running. A child that exits is restarted after 0.2 s, then
// after ever longer pauses, until stop.
type process struct {
	service
	*report
	cancel context.CancelFunc
	done   chan struct{}
}

const (
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 10 * time.Second
	steadyAfter  = 30 * time.Second // a child that ran this long restarts soon again
	keptLogBytes = 16 << 20
)

// startProcess begins to run a service, and returns at once.
func startProcess(s service, logger *slog.Logger, changed func()) *process {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{service: s, report: newReport(s.name, s.log, logger, changed), cancel: cancel, done: make(chan struct{})}
	go p.run(ctx)
	return p
}

// stop ends the child and waits for it.
func (p *process) stop() {
	p.cancel()
	<-p.done
}

func (p *process) run(ctx context.Context) {
	// The kernel sends the parent-death signal when the *thread* that started the
	// child ends. So this goroutine keeps its thread while there is a child, and the
	// thread ends with the goroutine.
	runtime.LockOSThread()
	defer close(p.done)
	defer p.update(func(s *ProcessStatus) { s.State, s.PID, s.Started = StateStopped, 0, 0 })
	backoff := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steadyAfter {
			backoff = firstBackoff
		}
		p.update(func(s *ProcessStatus) {
			s.State, s.PID, s.Started = StateRestarting, 0, 0
			s.Restarts++
			s.exits++
			s.LastExit = err.Error()
		})
		p.logger.Warn(p.name+" exited; restarting it", "error", err, "in", backoff, "log", p.log)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// once starts the child and returns when it has exited.
func (p *process) once(ctx context.Context) error {
	if info, err := os.Stat(p.log); err == nil && info.Size() > keptLogBytes {
		if err := os.Rename(p.log, p.log+".old"); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = p.grace
	// Its own process group: Ctrl-C at the terminal is for this process, which stops
	// its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	start := cmd.Start
	if p.do != nil {
		start = func() error { return p.do(cmd.Start) }
	}
	if err := start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	started, _ := startTicks(cmd.Process.Pid)
	p.update(func(s *ProcessStatus) { s.State, s.PID, s.Started = StateStarting, cmd.Process.Pid, started })

	running, ended := context.WithCancel(ctx)
	var check sync.WaitGroup
	check.Go(func() { p.check(running, began, p.ready) })
	err = cmd.Wait()
	ended()
	check.Wait()
	if err == nil {
		err = errors.New("exit status 0")
	}
	return err
}
