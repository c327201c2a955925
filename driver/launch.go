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

// answerTimeout is how long a stream host may take to serve its socket. It does
// so before anything else; the rest is a machine that starts many at once.
const answerTimeout = 30 * time.Second

// launch starts a stream host and returns when it answers, or ended in order.
// On an error nothing of it is left.
func launch(ctx context.Context, hostPath string, spec *wire.Spec, cfg *drivers.TaskConfig, environ []string) (*State, *watch, error) {
	if err := os.MkdirAll(spec.RunDir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make run directory: %w", err)
	}
	b, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("encode spec: %w", err)
	}
	specPath := filepath.Join(spec.RunDir, wire.SpecFile)
	if err := writeFile(specPath, append(b, '\n')); err != nil {
		return nil, nil, fmt.Errorf("write spec: %w", err)
	}
	logFile, err := os.OpenFile(filepath.Join(spec.RunDir, wire.LogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open stream host's log: %w", err)
	}
	defer logFile.Close()

	group := taskCgroup(cfg)
	cmd := exec.Command(hostPath, "--spec", specPath)
	cmd.Dir = spec.RunDir
	cmd.Env = hostEnviron(environ, cfg.DeviceEnv, spec.Nonce)
	// Files, not pipes: a pipe to this process would end the seat with it.
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if dir, err := group.open(); err == nil && dir != nil {
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", hostPath, err)
	}
	state := &State{Dir: spec.RunDir, PID: cmd.Process.Pid, Nonce: spec.Nonce, Started: time.Now().UTC()}
	w, err := adopt(state, group, cmd)
	if err == nil {
		err = answer(ctx, state, w)
		if err != nil {
			w.close()
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, killFamily(context.WithoutCancel(ctx), spec.Nonce, group))
	}
	return state, w, nil
}

// adopt takes hold of the process just started, and sees that it leaves no
// zombie once it ends.
func adopt(state *State, group cgroup, cmd *exec.Cmd) (*watch, error) {
	// It is our child and not waited for: until then its pid is its own.
	p, err := readProcess(state.PID)
	if err == nil {
		state.StartTime = p.start
		err = group.enter(state.PID)
	}
	var w *watch
	if err == nil {
		w, err = watchProcess(state.process())
	}
	go cmd.Wait()
	if err != nil {
		cmd.Process.Kill()
		return nil, fmt.Errorf("take hold of stream host: %w", err)
	}
	return w, nil
}

// answer waits for the stream host to serve its socket.
func answer(ctx context.Context, state *State, w *watch) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c := newControl(state.Dir)
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
			return fmt.Errorf("another stream host serves %s", state.Dir)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		case <-gone.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("stream host did not answer within %s%s", short(answerTimeout), lastWords(state.Dir))
			}
			if _, err := readExit(state.Dir, state.Nonce); err == nil {
				return nil // it ended in order: let WaitTask tell why
			}
			return fmt.Errorf("stream host ended at its start%s", lastWords(state.Dir))
		}
	}
}

// touchLogs opens and closes Nomad's log FIFOs, which whoever writes to them may
// not have come to do. Nomad's log collector waits for a first writer, and at a
// task's end Nomad waits for the collector: seconds in which nobody learns that
// the task failed.
func touchLogs(paths ...string) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
			continue
		}
		// For reading too, so that it does not wait for a collector in its turn.
		if f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}
}

// lastWords is the end of the stream host's log, to follow an error's text.
func lastWords(runDir string) string {
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

// State is what Nomad keeps of a task for RecoverTask.
type State struct {
	Dir       string    `codec:"dir"` // the seat's run directory
	PID       int       `codec:"pid"` // of the stream host
	StartTime uint64    `codec:"start_time"`
	Nonce     string    `codec:"nonce"`
	Started   time.Time `codec:"started"`
}

func (s *State) process() procID { return procID{s.PID, s.StartTime} }

// signalNumber knows signals by name, with or without SIG, in any case.
func signalNumber(name string) (unix.Signal, error) {
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	if n := unix.SignalNum(full); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("unknown signal %q: want a name such as SIGHUP", name)
}

func signalName(n unix.Signal) string { return unix.SignalName(n) }
