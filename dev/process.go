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

	"github.com/nearcast/nearcast/dev/netns"
)

// service is a child that must run: what to start, and how to tell that it serves.
type service struct {
	name  string
	argv  []string
	env   []string
	log   string    // file
	ns    *netns.NS // where it runs; nil is here
	ready func(ctx context.Context) error
	grace time.Duration // between SIGTERM and SIGKILL
}

// process keeps one service running. When the child dies it is started again,
// at once the first time and then ever later, until stop.
type process struct {
	service
	*report
	cancel context.CancelFunc
	done   chan struct{}
}

const (
	firstBackoff = 200 * time.Millisecond
	maxBackoff   = 10 * time.Second
	steadyAfter  = 30 * time.Second // a life this long forgives earlier deaths
	keptLogBytes = 16 << 20
)

// startProcess begins to run a service and returns at once.
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
	// The parent-death signal is sent when the *thread* that started the child
	// ends. So this goroutine keeps its thread as long as there is a child, and
	// the thread goes with the goroutine.
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
			s.deaths++
			s.LastDeath = err.Error()
		})
		p.logger.Warn(p.name+" died, starting it again", "because", err, "in", backoff, "log", p.log)
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// once is one life of the child.
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
	// Its own process group: Ctrl-C at the terminal is for the supervisor, which
	// stops its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := p.ns.Do(cmd.Start); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	started, _ := startTicks(cmd.Process.Pid)
	p.update(func(s *ProcessStatus) { s.State, s.PID, s.Started = StateStarting, cmd.Process.Pid, started })

	life, ended := context.WithCancel(ctx)
	var probe sync.WaitGroup
	probe.Go(func() { p.probe(life, began, p.ready) })
	err = cmd.Wait()
	ended()
	probe.Wait()
	if err == nil {
		err = errors.New("it exited by itself")
	}
	return err
}
