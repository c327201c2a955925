package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// answerTimeout is how long a stream host may take to serve its control socket.
// It does so first of all, but a node may start many at once.
const answerTimeout = 30 * time.Second

// writeSpec makes the run directory with the spec.
func writeSpec(spec *wire.Spec) error {
	if err := os.MkdirAll(spec.RunDir, 0o700); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	b, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	if err := writeFile(filepath.Join(spec.RunDir, wire.SpecFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	return nil
}

// launch starts the keeper of a seat whose spec is written. It returns when the stream
// host answers or the keeper has written how the seat ended. After an error no process
// of the seat is left.
func launch(ctx context.Context, spec *wire.Spec, cfg *drivers.TaskConfig, environ []string) (*State, *watch, error) {
	logFile, err := os.OpenFile(filepath.Join(spec.RunDir, wire.LogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open stream host's log: %w", err)
	}
	defer logFile.Close()

	group := taskCgroup(cfg)
	cmd := exec.Command(spec.SeatKeeper, "--spec", filepath.Join(spec.RunDir, wire.SpecFile))
	cmd.Dir = spec.RunDir
	cmd.Env = append(streamHostEnviron(environ, cfg.DeviceEnv, spec.Nonce), registryEnviron(spec.Cache.Dir, false)...)
	// A file, not a pipe: the stream host must survive this process.
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if dir, err := group.open(hostPart); err == nil && dir != nil {
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	begin, err := group.hold(cmd, len(cmd.Args))
	if err != nil {
		return nil, nil, err
	}
	defer begin()
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", spec.SeatKeeper, err)
	}
	state := &State{Dir: spec.RunDir, PID: cmd.Process.Pid, Nonce: spec.Nonce, Started: time.Now().UTC()}
	w, err := watchStarted(state, group, cmd)
	if err == nil {
		begin()
		err = awaitAnswer(ctx, state, w)
		if err != nil {
			w.close()
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, endSeat(context.WithoutCancel(ctx), spec, group))
	}
	return state, w, nil
}

// watchStarted watches the process that cmd has just started, and reaps it when
// it ends.
func watchStarted(state *State, group cgroup, cmd *exec.Cmd) (*watch, error) {
	// Nobody has waited for this child yet, so no other process can have its pid.
	p, err := readProcess(state.PID)
	if err == nil {
		state.StartTime = p.start
		err = group.enter(state.PID, hostPart)
	}
	var w *watch
	if err == nil {
		w, err = watchProcess(state.process())
	}
	go cmd.Wait()
	if err != nil {
		cmd.Process.Kill()
		return nil, fmt.Errorf("watch stream host: %w", err)
	}
	return w, nil
}

// awaitAnswer returns when the stream host serves its control socket.
func awaitAnswer(ctx context.Context, state *State, w *watch) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c := newControlClient(state.Dir)
	defer c.close()

	gone, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		w.wait()
		stop()
	}()
	pause := 5 * time.Millisecond
	for {
		status, err := c.status(gone)
		switch {
		case err == nil && status.Nonce == state.Nonce:
			return nil
		case err == nil:
			return fmt.Errorf("another stream host serves the control socket in %s", state.Dir)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		case <-gone.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("the stream host did not answer within %s%s", short(answerTimeout), logEnd(state.Dir))
			}
			if _, err := readExit(state.Dir, state.Nonce); err == nil {
				return nil // WaitTask reports why it ended
			}
			return fmt.Errorf("the stream host ended while it started%s", logEnd(state.Dir))
		}
	}
}

// releaseLogCollector opens and closes Nomad's log FIFOs, in case no app has
// opened them. Nomad's log collector waits for the first writer, and Nomad waits
// for the collector before it reports that a task failed: several seconds.
func releaseLogCollector(paths ...string) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
			continue
		}
		// O_RDWR does not wait for the collector.
		if f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}
}

// logEnd is the last line of the stream host's log, as the end of an error's text.
func logEnd(runDir string) string {
	f, err := os.Open(filepath.Join(runDir, wire.LogFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 2048
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		f.Seek(max(0, size-most), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	last := strings.TrimSpace(string(lines[len(lines)-1]))
	if last == "" {
		return ""
	}
	if len(last) > 300 {
		last = last[:300] + "…"
	}
	return "; its log ends: " + strings.ToValidUTF8(last, "?")
}
