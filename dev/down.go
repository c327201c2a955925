package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"time"
)

// Close stops seats, then servers, then ends what is still there.
func (c *Cluster) Close() error {
	c.closing.Do(func() { c.closed = c.down() })
	return c.closed
}

func (c *Cluster) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The brain first: it would replace each seat that ends.
	for _, name := range []string{"console", "brain", "router"} {
		c.stopPart(name)
	}
	if c.nomadServes() {
		seats, cancel := context.WithTimeout(ctx, 15*time.Second)
		n, err := c.stopSeats(seats)
		cancel()
		if err != nil {
			c.logger.Warn("seats did not stop in time; ending their processes", "error", err)
		} else if n > 0 {
			c.logger.Info("seats stopped", "jobs", n)
		}
	}
	for _, name := range []string{"nomad", "nomad-server", "s3", "consul"} {
		c.stopPart(name)
	}
	if err := c.folder.Release(ctx); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return nil
}

func (c *Cluster) stopPart(name string) {
	p, err := c.part(name)
	if err != nil {
		return // never started
	}
	p.stop()
	c.logger.Info(name + " stopped")
}

// Down stops the cluster or planet in dir, from any process: it asks the process
// that runs it to stop, and ends what a killed one left. It returns ErrNotRunning
// where there is nothing to stop.
func Down(ctx context.Context, dir string, log io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	logger := NewLogger(log)
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
				logger.Warn("the dev cluster does not stop; killing it", "pid", state.PID)
				syscall.Kill(state.PID, syscall.SIGKILL)
				deadline = nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	} else {
		logger.Info("the dev cluster was killed; ending what it left", "dir", dir)
	}
	folder, err := TakeFolder(ctx, dir, logger)
	if err != nil {
		return err
	}
	if err := folder.Release(ctx); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return nil
}
