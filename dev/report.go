package dev

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// part is one of the cluster's programs: a child of this process, or the task of a
// Nomad job.
type part interface {
	snapshot() (ProcessStatus, <-chan struct{})
	wait(ctx context.Context) error
	kill(signal syscall.Signal) error
	stop()
}

// report is the status of a part, for those who wait for it.
type report struct {
	logger  *slog.Logger
	changed func() // is called after a change of state or pid

	mu     sync.Mutex
	status ProcessStatus
	wake   chan struct{} // closed and replaced at each change of status
}

// Process states.
const (
	StateStarting   = "starting"
	StateReady      = "ready"
	StateRestarting = "restarting"
	StateStopped    = "stopped"
)

// slowStart is how long a start may take before the log says what it waits for.
const slowStart = 3 * time.Second

func newReport(name, log string, logger *slog.Logger, changed func()) *report {
	return &report{
		logger: logger, changed: changed, wake: make(chan struct{}),
		status: ProcessStatus{Name: name, State: StateStarting, Log: log, Since: time.Now().UTC()},
	}
}

// snapshot is the status now, and a channel that closes when it changes.
func (r *report) snapshot() (ProcessStatus, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status, r.wake
}

func (r *report) update(change func(*ProcessStatus)) {
	r.mu.Lock()
	before := r.status
	change(&r.status)
	if before.State != r.status.State {
		r.status.Since = time.Now().UTC()
	}
	visible := before.State != r.status.State || before.PID != r.status.PID
	close(r.wake)
	r.wake = make(chan struct{})
	r.mu.Unlock()
	if visible {
		r.changed()
	}
}

// wait returns when the part serves, or with an error when it does not stay up: it
// has exited three times in a row.
func (r *report) wait(ctx context.Context) error {
	for {
		status, changed := r.snapshot()
		switch {
		case status.State == StateReady:
			return nil
		case status.State == StateStopped:
			return fmt.Errorf("%s was stopped", status.Name)
		case status.exits >= 3:
			return fmt.Errorf("%s exits again and again (%s); the end of %s:\n%s", status.Name, status.LastExit, status.Log, lastLines(status.Log, 12))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s (%s): %w; the end of %s:\n%s", status.Name, status.notReady, ctx.Err(), status.Log, lastLines(status.Log, 12))
		}
	}
}

// kill sends a signal to the process as it is now.
func (r *report) kill(signal syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status.PID == 0 {
		return fmt.Errorf("signal %s: it is not running", r.status.Name)
	}
	return syscall.Kill(r.status.PID, signal)
}

// check polls ready until the process serves. began is when it was started.
func (r *report) check(ctx context.Context, began time.Time, ready func(context.Context) error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var said string
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := ready(attempt)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.logger.Info(r.status.Name+" is up", "took", time.Since(began).Round(10*time.Millisecond))
			r.update(func(s *ProcessStatus) { s.State, s.exits = StateReady, 0 })
			return
		}
		r.update(func(s *ProcessStatus) { s.notReady = err.Error() })
		if why := err.Error(); time.Since(began) > slowStart && why != said {
			said = why
			r.logger.Info("waiting for "+r.status.Name, "reason", why)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lastLines is the end of a log file, for an error message.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
