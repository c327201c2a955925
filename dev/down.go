package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Close ends seats, then servers, then whatever should not be there any more.
func (c *Cluster) Close() error {
	c.closing.Do(func() { c.closed = c.down() })
	return c.closed
}

func (c *Cluster) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer c.unlock()
	var problems []error
	// The brain first, or it would replace every seat that ends.
	for _, name := range []string{"brain", "router"} {
		c.stopPart(name)
	}
	if c.nomadServes() {
		seats, cancel := context.WithTimeout(ctx, 15*time.Second)
		n, err := c.stopSeats(seats)
		cancel()
		if err != nil {
			c.logger.Warn("seats do not end when asked; ending their processes", "error", err)
		} else if n > 0 {
			c.logger.Info("seats stopped", "jobs", n)
		}
	}
	for _, name := range []string{"nomad", "nomad-server", "s3", "consul"} {
		c.stopPart(name)
	}
	problems = append(problems, sweep(ctx, c.Dir, c.runDir, c.logger))
	if c.displays != nil {
		problems = append(problems, c.displays.Close())
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return removeState(c.Dir, c.runDir)
}

func (c *Cluster) stopPart(name string) {
	p, err := c.part(name)
	if err != nil {
		return // never started
	}
	p.stop()
	c.logger.Info(name + " stopped")
}

func (c *Cluster) status(name string) (s ProcessStatus) {
	if p, err := c.part(name); err == nil {
		s, _ = p.snapshot()
	}
	return s
}

// Down stops the cluster in dir, wherever it runs: through its supervisor if
// that lives, else by ending what it left. It returns ErrNotRunning where there
// is nothing to stop.
func Down(ctx context.Context, dir string, log io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	logger := newLogger(log)
	state, err := ReadState(dir)
	if err != nil {
		return err
	}
	if state.Running() {
		logger.Info("stopping the dev cluster", "pid", state.PID, "dir", dir)
		if err := syscall.Kill(state.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop process %d: %w", state.PID, err)
		}
		deadline := time.After(75 * time.Second)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for state.Running() {
			select {
			case <-tick.C:
			case <-deadline:
				logger.Warn("it does not stop; killing it", "pid", state.PID)
				syscall.Kill(state.PID, syscall.SIGKILL)
				deadline = nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	} else {
		logger.Info("the cluster's supervisor was killed; ending what it left", "dir", dir)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := sweepAll(ctx, dir, state.RunDir, logger); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return removeState(dir, state.RunDir)
}

// removeState takes away what a stopped cluster needs no more. Data and logs stay.
func removeState(dir, runDir string) error {
	var problems []error
	for _, path := range []string{filepath.Join(dir, stateFile), runDir} {
		if err := os.RemoveAll(path); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
