package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// markEnv is in the environment of every process of a cluster and names its
// folder. Plugins, log collectors and stream hosts inherit it from the Nomad
// agent, so that they can be found when nobody remembers their pids.
const markEnv = "NEARCAST_DEV_DIR"

// nonceEnv is the driver's own mark, on every process of a seat: it keeps the
// rest of the agent's environment from apps.
const nonceEnv = "NEARCAST_NONCE"

// startTicks is when a process started, in clock ticks since boot.
func startTicks(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command name, in parentheses, may hold spaces and parentheses.
	_, rest, ok := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("parse /proc/%d/stat", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, os.ErrProcessDone
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// alive reports whether the process lives that had this pid and start time.
func alive(pid int, started uint64) bool {
	if pid <= 0 {
		return false
	}
	ticks, err := startTicks(pid)
	return err == nil && ticks == started
}

// leftover is a process of a cluster whose supervisor is not its parent.
type leftover struct {
	pid     int
	started uint64
	argv    []string
}

// command is what it was started as, for people.
func (l leftover) command() string { return strings.Join(l.argv[:min(2, len(l.argv))], " ") }

// leftovers are the processes that carry dir's mark, or the mark of a seat in
// runDir, and stream hosts that name a path below runDir on their command line.
// This process and its ancestors are never among them.
func leftovers(dir, runDir string) ([]leftover, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	own := ancestors()
	marks := append(seatMarks(runDir), markEnv+"="+dir)
	var found []leftover
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains(own, pid) {
			continue
		}
		// A process may end while it is looked at: then it is no leftover.
		args, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(args) == 0 {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		isMarked := slices.ContainsFunc(strings.Split(string(environ), "\x00"), func(v string) bool { return slices.Contains(marks, v) })
		words := strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
		isHost := filepath.Base(words[0]) == "stream-host" && slices.ContainsFunc(words[1:], func(w string) bool {
			return strings.Contains(w, runDir+"/")
		})
		if !isMarked && !isHost {
			continue
		}
		if started, err := startTicks(pid); err == nil {
			found = append(found, leftover{pid, started, words})
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

func ancestors() []int {
	pids := []int{os.Getpid()}
	for pid := os.Getppid(); pid > 1; {
		pids = append(pids, pid)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		fields := strings.Fields(string(text[max(0, bytes.LastIndexByte(text, ')')):]))
		if len(fields) < 3 {
			break
		}
		if pid, err = strconv.Atoi(fields[2]); err != nil {
			break
		}
	}
	return pids
}

// sweepAll sweeps a cluster's folder, and first those of a planet's sites in it.
func sweepAll(ctx context.Context, dir, runDirOf string, logger *slog.Logger) error {
	sites, err := os.ReadDir(sitesDir(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, entry := range sites {
		site := filepath.Join(sitesDir(dir), entry.Name())
		if err := sweep(ctx, site, runDir(site), logger); err != nil {
			return err
		}
		if err := removeState(site, runDir(site)); err != nil {
			return err
		}
	}
	// This unmounts namespaces too, and leaves the files that they were on.
	if err := sweep(ctx, dir, runDirOf, logger); err != nil {
		return err
	}
	return os.RemoveAll(netnsDir(dir))
}

// sweep ends all that is left of a cluster whose supervisor is gone or about
// to go: processes, mounts below its folders, the driver's run directory. It
// says what it ended.
func sweep(ctx context.Context, dir, runDir string, logger *slog.Logger) error {
	// Stream hosts clean up after themselves when they are asked to end, so
	// they are asked first, while what they talk to still runs.
	isHost := func(l leftover) bool { return strings.Contains(l.command(), "stream-host") }
	isAny := func(leftover) bool { return true }
	for _, round := range []struct {
		which  func(leftover) bool
		signal syscall.Signal
		wait   time.Duration
	}{
		{isHost, syscall.SIGTERM, 8 * time.Second},
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
	told := make(map[int]bool)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// Looked for again each time, because one that ends may start another.
		found, err := leftovers(dir, runDir)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(l leftover) bool { return !which(l) })
		if len(found) == 0 || time.Now().After(deadline) {
			return nil
		}
		for _, l := range found {
			if told[l.pid] || !alive(l.pid, l.started) {
				continue
			}
			told[l.pid] = true
			logger.Info("ending what is left", "process", l.command(), "pid", l.pid, "signal", unix.SignalName(signal))
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

// unmountBelow takes away every mount below dir, the deepest first.
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

// unescapeMount undoes mountinfo's octal escapes of space, tab, newline and backslash.
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
