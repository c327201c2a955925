package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// markEnv names the folder of a cluster in the environment of each of its processes.
const markEnv = "NEARCAST_DEV_DIR"

// Mark is the variable, as name=value, that is in the environment of each process of
// the cluster in dir. Plugins, log collectors and stream hosts inherit it from the Nomad
// agent. Down finds them by it, without knowing their pids.
func Mark(dir string) string { return markEnv + "=" + dir }

// nonceEnv is the driver's own mark, on each process of a seat: apps do not get the
// rest of the agent's environment.
const nonceEnv = "NEARCAST_NONCE"

// leftover is a process of a cluster that may have lost its parent.
type leftover struct {
	pid     int
	started uint64
	argv    []string
}

// command is the first words of its command line, for people.
func (l leftover) command() string { return strings.Join(l.argv[:min(2, len(l.argv))], " ") }

// leftovers are the processes that carry dir's mark or the mark of a seat in runDir,
// and stream hosts with a path below runDir on their command line. This process and its
// ancestors are never among them.
func leftovers(dir, runDir string) (found []leftover, err error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	own := ancestors()
	marks := append(seatMarks(runDir), Mark(dir))
	for _, p := range processes {
		if slices.Contains(own, p.PID) {
			continue
		}
		// A process may exit while it is looked at: then it is no leftover.
		argv, err := p.CmdLine()
		if err != nil || len(argv) == 0 {
			continue
		}
		environ, _ := p.Environ()
		isMarked := slices.ContainsFunc(environ, func(v string) bool { return slices.Contains(marks, v) })
		isKeeper := filepath.Base(argv[0]) == "seat-keeper" && slices.ContainsFunc(argv[1:], func(w string) bool {
			return strings.Contains(w, runDir+"/")
		})
		if !isMarked && !isKeeper {
			continue
		}
		if started, err := startTicks(p.PID); err == nil {
			found = append(found, leftover{p.PID, started, argv})
		}
	}
	return found, nil
}

// seatMarks are the marks of the seats that have a spec in runDir.
func seatMarks(runDir string) (marks []string) {
	specs, _ := filepath.Glob(filepath.Join(runDir, "*", wire.SpecFile))
	for _, path := range specs {
		var spec wire.Spec
		text, err := os.ReadFile(path)
		if err == nil && json.Unmarshal(text, &spec) == nil && spec.Nonce != "" {
			marks = append(marks, nonceEnv+"="+spec.Nonce)
		}
	}
	return marks
}

// sweepAll sweeps the folder of a cluster, and before it those of a planet's sites in it.
func sweepAll(ctx context.Context, dir, runDir string, logger *slog.Logger) error {
	sites, err := os.ReadDir(sitesDir(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range sites {
		site := filepath.Join(sitesDir(dir), entry.Name())
		if err := sweep(ctx, site, RunDir(site), logger); err != nil {
			return err
		}
		if err := removeState(site, RunDir(site)); err != nil {
			return err
		}
	}
	// This unmounts namespaces too, and leaves the files that they were mounted on.
	if err := sweep(ctx, dir, runDir, logger); err != nil {
		return err
	}
	return os.RemoveAll(netnsDir(dir))
}

// sweep ends all that is left of a cluster that was stopped or killed: processes,
// mounts below its folders, what is in its run directory. It logs what it ends.
func sweep(ctx context.Context, dir, runDir string, logger *slog.Logger) error {
	// Seats clean up when they are asked to end. They are asked first, while what they
	// talk to still runs.
	isKeeper := func(l leftover) bool { return strings.Contains(l.command(), "seat-keeper --spec") }
	isAny := func(leftover) bool { return true }
	for _, round := range []struct {
		which  func(leftover) bool
		signal syscall.Signal
		wait   time.Duration
	}{
		{isKeeper, syscall.SIGTERM, 8 * time.Second},
		{isAny, syscall.SIGTERM, 2 * time.Second},
		{isAny, syscall.SIGKILL, 5 * time.Second},
	} {
		if err := endLeftovers(ctx, dir, runDir, round.which, round.signal, round.wait, logger); err != nil {
			return err
		}
	}
	left, err := leftovers(dir, runDir)
	if err != nil {
		return err
	}
	var problems []error
	for _, l := range left {
		problems = append(problems, fmt.Errorf("process %d (%s) cannot be ended", l.pid, l.command()))
	}
	for _, folder := range []string{dir, runDir} {
		problems = append(problems, unmountBelow(folder))
	}
	if len(left) == 0 {
		problems = append(problems, emptyDir(runDir))
	}
	return errors.Join(problems...)
}

func endLeftovers(ctx context.Context, dir, runDir string, which func(leftover) bool, signal syscall.Signal, wait time.Duration, logger *slog.Logger) error {
	deadline := time.Now().Add(wait)
	signalled := make(map[int]bool)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// Each time anew: a process that ends may start another.
		found, err := leftovers(dir, runDir)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(l leftover) bool { return !which(l) })
		if len(found) == 0 || time.Now().After(deadline) {
			return nil
		}
		for _, l := range found {
			if signalled[l.pid] || !alive(l.pid, l.started) {
				continue
			}
			signalled[l.pid] = true
			logger.Info("ending a process that was left", "process", l.command(), "pid", l.pid, "signal", unix.SignalName(signal))
			if err := syscall.Kill(l.pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process %d (%s): %w", l.pid, l.command(), err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unmountBelow removes each mount below dir, the deepest first. It reads mountinfo
// itself: package procfs fails on the first line that it does not understand, and keeps
// the escapes in paths.
func unmountBelow(dir string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			if point := unescapeMount(fields[4]); strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	slices.Sort(points)
	slices.Reverse(points)
	var problems []error
	for _, point := range points {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			problems = append(problems, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(problems...)
}

// unescapeMount replaces mountinfo's octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var problems []error
	for _, e := range entries {
		problems = append(problems, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(problems...)
}
