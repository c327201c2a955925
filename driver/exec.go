package driver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"golang.org/x/sys/unix"
)

// ExecTask runs a command beside the app, such as a script check.
func (d *Driver) ExecTask(id string, command []string, timeout time.Duration) (*drivers.ExecTaskResult, error) {
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	cmd, start, release, err := t.beside(ctx, command)
	if err != nil {
		return nil, err
	}
	defer release()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := start(); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the command did not end within %s: %w", timeout, ctx.Err())
	}
	if err != nil && cmd.ProcessState == nil {
		return nil, fmt.Errorf("run command: %w", err)
	}
	return &drivers.ExecTaskResult{
		Stdout: stdout.Bytes(), Stderr: stderr.Bytes(),
		ExitResult: &drivers.ExitResult{ExitCode: exitCode(cmd.ProcessState)},
	}, nil
}

// ExecTaskStreamingRaw serves "nomad alloc exec".
func (d *Driver) ExecTaskStreamingRaw(ctx context.Context, id string, command []string, tty bool, stream drivers.ExecTaskStream) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, start, release, err := t.beside(ctx, command)
	if err != nil {
		return err
	}
	defer release()
	s := &execStream{stream: stream, cmd: cmd, start: start}
	if tty {
		return s.terminal()
	}
	return s.pipes()
}

// beside prepares a command to run as the app runs: in its namespaces and cgroup,
// as its user, with its environment. start starts it in place of cmd.Start. release follows in any
// case, also without a start; it may be called again. The command ends at the latest with ctx.
func (t *task) beside(ctx context.Context, command []string) (cmd *exec.Cmd, start func() error, release func(), err error) {
	if len(command) == 0 || command[0] == "" {
		return nil, nil, nil, errors.New("no command given")
	}
	if !t.running() {
		return nil, nil, nil, fmt.Errorf("the seat has ended: %s", t.end)
	}
	status, err := t.control.status(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if status.AppPID == 0 {
		return nil, nil, nil, fmt.Errorf("the app is not started yet, the seat is at %q: try again later", cmp.Or(string(status.Seat.Progress.Phase), string(status.State)))
	}
	if err := t.holds(status.InitPID); err != nil {
		return nil, nil, nil, err
	}
	// Not nsenter(1): the command must be as confined as the app, which has the same
	// user and could use it.
	argv := []string{t.spec.SeatKeeper, "enter", "--target", strconv.Itoa(status.InitPID), "--user", t.spec.User, "--dir", t.spec.TaskDir}
	for flag, on := range map[string]bool{
		"--confined": t.spec.Isolate, "--i386": t.spec.Cell.I386, "--user-namespaces": t.spec.Cell.UserNamespaces,
	} {
		if on {
			argv = append(argv, flag)
		}
	}
	argv = append(append(argv, "--"), command...)
	attr := &syscall.SysProcAttr{Setsid: true}
	cmd = exec.CommandContext(ctx, argv[0])
	cmd.Args, cmd.Env, cmd.Dir, cmd.SysProcAttr = argv, t.execEnv(status.AppPID), "/", attr
	begin, err := t.group.hold(cmd, 2)
	if err != nil {
		return nil, nil, nil, err
	}
	release = begin
	if group, err := t.group.open(cellPart); err == nil && group != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
		release = func() { begin(); group.Close() }
	}
	start = func() error {
		defer release()
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start command: %w", err)
		}
		if err := t.group.enter(cmd.Process.Pid, cellPart); err != nil {
			t.log.Warn("cannot move a command into the task's cgroup", "error", err)
		}
		return nil
	}
	// A process that the command leaves in the background keeps its output open.
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error {
		// All of them: the command does not die with what entered the cell.
		all, err := processes()
		if err != nil {
			return cmd.Process.Kill()
		}
		for _, p := range descendants(all, cmd.Process.Pid) {
			unix.Kill(p, unix.SIGKILL)
		}
		return nil
	}
	return cmd, start, release, nil
}

// descendants is a process and all its descendants.
func descendants(all []process, root int) []int {
	out := []int{root}
	for i := 0; i < len(out); i++ {
		for _, p := range all {
			if p.ppid == out[i] && !slices.Contains(out, p.pid) {
				out = append(out, p.pid)
			}
		}
	}
	return out
}

func exitCode(ps *os.ProcessState) int {
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ps.ExitCode()
}
