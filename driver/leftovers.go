package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// killTimeout bounds how long a killed process may take to die. One that waits
// for a disk or a GPU can take a while.
const killTimeout = 10 * time.Second

// killFamily ends every process of a seat, and returns when none is alive.
func killFamily(ctx context.Context, nonce string, group cgroup) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	groupErr := group.kill()
	known := map[procID]bool{}
	for {
		all, err := processes()
		if err != nil {
			return fmt.Errorf("look for processes of seat: %w", err)
		}
		alive := 0
		for _, p := range family(all, nonce, known) {
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
		// Again, until a look finds none: between look and kill they may fork.
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes of a seat survive SIGKILL", alive)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reap ends whatever an earlier start of the same task left: its stream host if
// it still answers, then every process with its mark, then its directory.
func reap(ctx context.Context, runDir string, group cgroup) error {
	spec, err := readSpec(runDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Nothing was started here: the spec is written before the stream host.
	case err != nil:
		return err
	default:
		c := newControl(runDir)
		defer c.close()
		if status, err := c.status(ctx); err == nil && status.Nonce == spec.Nonce {
			// Give it the chance to deregister and to end the app in order.
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
		if err := killFamily(ctx, spec.Nonce, group); err != nil {
			return err
		}
	}
	return removeRunDir(runDir)
}

// removeRunDir removes a run directory, and what its stream host had to keep
// outside the task's directory and could not remove, because it was killed.
func removeRunDir(runDir string) error {
	link := filepath.Join(runDir, wire.ScratchLink)
	if scratch, err := os.Readlink(link); err == nil && strings.HasPrefix(filepath.Base(scratch), ".nearcast-") {
		if err := os.RemoveAll(scratch); err != nil {
			return fmt.Errorf("remove a seat's directory: %w", err)
		}
	}
	if err := os.RemoveAll(runDir); err != nil {
		return fmt.Errorf("remove run directory: %w", err)
	}
	return nil
}

func processOf(pid int) procID {
	p, err := readProcess(pid)
	if err != nil {
		return procID{pid: pid}
	}
	return p.id()
}

func readSpec(runDir string) (*wire.Spec, error) {
	var spec wire.Spec
	if err := readJSON(filepath.Join(runDir, wire.SpecFile), &spec); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	return &spec, nil
}

// readExit is the stream host's last word of the start with this nonce.
func readExit(runDir, nonce string) (wire.End, error) {
	var exit wire.Exit
	if err := readJSON(filepath.Join(runDir, wire.ExitFile), &exit); err != nil {
		return wire.End{}, fmt.Errorf("read exit: %w", err)
	}
	if exit.Nonce != nonce {
		return wire.End{}, fmt.Errorf("read exit: it is of another start")
	}
	return exit.End, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// writeFile writes all or nothing, whenever we are killed. The temporary file is
// beside the file: another directory may be on another file system.
func writeFile(path string, content []byte) error {
	return renameio.WriteFile(path, content, 0o600,
		renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
}
