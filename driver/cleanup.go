package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// killTimeout is how long a killed process may take to die. A process that waits
// for a disk or a GPU dies late.
const killTimeout = 10 * time.Second

// killFamily kills every process of a seat, and returns when none is alive.
func killFamily(ctx context.Context, m mark, group cgroup) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	groupErr := group.kill()
	known := map[procID]bool{}
	for {
		all, err := processes()
		if err != nil {
			return fmt.Errorf("list the seat's processes: %w", err)
		}
		alive := 0
		for _, p := range family(all, m, known) {
			known[p.id()] = true
			if !p.alive() {
				continue
			}
			alive++
			unix.Kill(p.pid, unix.SIGKILL)
		}
		if alive == 0 {
			return groupErr
		}
		// Repeat until none is found: processes may fork between the look and the kill.
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes of the seat still run %s after SIGKILL", alive, short(killTimeout))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reap ends what an earlier start of the same task left: first its stream host, if
// that still answers, then every process of the seat, then the run directory.
func reap(ctx context.Context, runDir string, group cgroup) error {
	spec, err := readSpec(runDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Nothing was started: the spec is written before the stream host starts.
	case err != nil:
		return err
	default:
		c := newControlClient(runDir)
		defer c.close()
		// The pid must be the seat's: the stream host may name any.
		if status, err := c.status(ctx); err == nil && status.Nonce == spec.Nonce && marked(status.PID, spec.Nonce) {
			// Let it deregister the seat and stop the app.
			if w, err := watchProcess(processOf(status.PID)); err == nil {
				defer w.close()
				stop := wire.StopRequest{Reason: wire.ReasonDrained, TimeoutMS: 1000}
				if c.stop(ctx, stop) == nil {
					late := time.AfterFunc(3*time.Second, func() { w.signal(unix.SIGKILL) })
					w.wait()
					late.Stop()
				}
			}
		}
		if err := endSeat(ctx, spec, group); err != nil {
			return err
		}
	}
	return removeRunDir(runDir)
}

func processOf(pid int) procID {
	p, err := readProcess(pid)
	if err != nil {
		return procID{pid: pid}
	}
	return p.id()
}
