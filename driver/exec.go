package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// ExecTask runs a command beside the app: a script check, for instance.
func (d *Driver) ExecTask(id string, command []string, timeout time.Duration) (*drivers.ExecTaskResult, error) {
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	t, err := d.task(id)
	if err != nil {
		return nil, err
	}
	cmd, release, err := t.beside(ctx, command)
	if err != nil {
		return nil, err
	}
	defer release()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start command: %w", err)
	}
	t.joined(cmd)
	err = cmd.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("command did not end within %s: %w", timeout, ctx.Err())
	}
	if err != nil && cmd.ProcessState == nil {
		return nil, fmt.Errorf("run command: %w", err)
	}
	return &drivers.ExecTaskResult{
		Stdout: stdout.Bytes(), Stderr: stderr.Bytes(),
		ExitResult: &drivers.ExitResult{ExitCode: exitCode(cmd.ProcessState)},
	}, nil
}

// ExecTaskStreamingRaw is "nomad alloc exec".
func (d *Driver) ExecTaskStreamingRaw(ctx context.Context, id string, command []string, tty bool, stream drivers.ExecTaskStream) error {
	t, err := d.task(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, release, err := t.beside(ctx, command)
	if err != nil {
		return err
	}
	defer release()
	s := &session{task: t, stream: stream, cmd: cmd}
	if tty {
		return s.terminal()
	}
	return s.pipes()
}

// beside prepares a command to run where the app runs: in its namespaces and
// cgroup, as its user, with its environment. The command does not outlive ctx.
func (t *task) beside(ctx context.Context, command []string) (cmd *exec.Cmd, release func(), err error) {
	if len(command) == 0 || command[0] == "" {
		return nil, nil, errors.New("there is no command to run")
	}
	if !t.running() {
		return nil, nil, fmt.Errorf("the seat has ended: %s", t.end)
	}
	status, err := t.control.status(ctx)
	if err != nil {
		return nil, nil, err
	}
	if status.AppPID == 0 {
		return nil, nil, fmt.Errorf("the app was not started yet: the seat is at %s", firstOf(string(status.Seat.Progress.Phase), string(status.State)))
	}
	env := t.execEnv(status.AppPID)
	argv := command
	attr := &syscall.SysProcAttr{Setsid: true}
	dir := t.spec.TaskDir
	uid, gid, err := userOf(status.AppPID)
	if err != nil {
		return nil, nil, fmt.Errorf("the app has ended: %w", err)
	}
	if t.spec.Isolate {
		argv, env, err = enterNamespaces(status.AppPID, uid, gid, command, env)
		if err != nil {
			return nil, nil, err
		}
		dir = "/"
	} else if os.Geteuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	path := argv[0]
	if !strings.Contains(path, "/") {
		if path, err = lookPath(path, env); err != nil {
			return nil, nil, err
		}
	}
	release = func() {}
	if group, err := t.group.open(); err == nil && group != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
		release = func() { group.Close() }
	}
	cmd = exec.CommandContext(ctx, path)
	cmd.Args, cmd.Env, cmd.Dir, cmd.SysProcAttr = argv, env, dir, attr
	// What the command leaves in the background keeps its output open.
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error {
		// The whole session: nsenter does not pass its death on.
		all, err := processes()
		if err != nil {
			return cmd.Process.Kill()
		}
		for _, p := range descendants(all, cmd.Process.Pid) {
			unix.Kill(p, unix.SIGKILL)
		}
		return nil
	}
	return cmd, release, nil
}

// joined puts a command just started into the task's cgroups of version 1.
func (t *task) joined(cmd *exec.Cmd) {
	if err := t.group.enter(cmd.Process.Pid); err != nil {
		t.log.Warn("put command into the task's cgroup", "error", err)
	}
}

// descendants is a process and all below it.
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

// enterNamespaces is the command by way of nsenter(1): Go cannot enter a mount
// namespace, for its process has many threads. nsenter runs as root until it is
// inside, so it is given no variable that could make it load the job's code;
// these the command gets by env(1).
func enterNamespaces(pid, uid, gid int, command, env []string) (argv, safe []string, err error) {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, nil, fmt.Errorf("nsenter is not installed (package util-linux): %w", err)
	}
	argv = []string{nsenter, "--target", strconv.Itoa(pid)}
	for _, ns := range []struct{ file, flag string }{
		{"mnt", "--mount"}, {"pid", "--pid"}, {"net", "--net"}, {"ipc", "--ipc"}, {"uts", "--uts"},
	} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.file))
		if err != nil {
			return nil, nil, fmt.Errorf("the app has ended: %w", err)
		}
		if ours, err := os.Readlink("/proc/self/ns/" + ns.file); err == nil && ours != theirs {
			argv = append(argv, ns.flag)
		}
	}
	argv = append(argv, "--root", "--wd",
		"--setgid", strconv.Itoa(gid), "--setuid", strconv.Itoa(uid), "--")
	var late []string
	for _, kv := range env {
		if loads(kv) {
			late = append(late, kv)
		} else {
			safe = append(safe, kv)
		}
	}
	if len(late) > 0 {
		argv = append(append(argv, "/usr/bin/env"), late...)
	}
	return append(argv, command...), safe, nil
}

// loads reports whether a variable makes the C library load or write files.
// These are the ones that it ignores itself in set-user-id programs.
func loads(kv string) bool {
	key, _, _ := strings.Cut(kv, "=")
	switch key {
	case "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH",
		"MALLOC_TRACE", "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TZDIR":
		return true
	}
	return strings.HasPrefix(key, "LD_")
}

// execEnv is the job's environment of the app, and where its display and sound
// are, which the stream host told only the app.
func (t *task) execEnv(appPID int) []string {
	env := map[string]string{}
	for k, v := range t.spec.Env {
		env[k] = v
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(appPID), "environ"))
	if err == nil {
		for kv := range bytes.SplitSeq(b, []byte{0}) {
			k, v, _ := strings.Cut(string(kv), "=")
			switch k {
			case "DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "PULSE_SERVER", "PULSE_COOKIE", "HOME", "USER", "LOGNAME":
				env[k] = v
			}
		}
	}
	env["TERM"] = firstOf(env["TERM"], "xterm-256color")
	out := make([]string, 0, len(env))
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// userOf is the effective user and group of a process. Of the app they are more
// certain than a look-up of the job's user: the account may have changed since,
// and the stream host may know accounts that this program does not.
func userOf(pid int) (uid, gid int, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, 0, err
	}
	s, err := p.NewStatus()
	return int(s.UIDs[1]), int(s.GIDs[1]), err
}

// lookPath finds a program in the PATH of env, not in our own.
func lookPath(name string, env []string) (string, error) {
	for _, kv := range env {
		if list, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, dir := range filepath.SplitList(list) {
				if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(p) {
					return p, nil
				}
			}
		}
	}
	return "", fmt.Errorf("%s: not found in the app's PATH", name)
}

func exitCode(ps *os.ProcessState) int {
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ps.ExitCode()
}

// A session is one "nomad alloc exec".
type session struct {
	task   *task
	cmd    *exec.Cmd
	mu     sync.Mutex // of Send: a stream takes one sender at a time
	stream drivers.ExecTaskStream
}

func (s *session) send(m *drivers.ExecTaskStreamingResponseMsg) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(m)
}

// ended tells the other side the exit code, after all output.
func (s *session) ended(err error) error {
	if s.cmd.ProcessState == nil {
		return fmt.Errorf("run command: %w", err)
	}
	return s.send(drivers.NewExecStreamingResponseExit(exitCode(s.cmd.ProcessState)))
}

func (s *session) pipes() error {
	stdin, err := s.cmd.StdinPipe()
	if err != nil {
		return err
	}
	s.cmd.Stdout = sender(func(b []byte) error {
		return s.send(&drivers.ExecTaskStreamingResponseMsg{Stdout: &proto.ExecTaskStreamingIOOperation{Data: b}})
	})
	s.cmd.Stderr = sender(func(b []byte) error {
		return s.send(&drivers.ExecTaskStreamingResponseMsg{Stderr: &proto.ExecTaskStreamingIOOperation{Data: b}})
	})
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start command: %w", err)
	}
	s.task.joined(s.cmd)
	go s.input(stdin, nil)
	err = s.cmd.Wait()
	for _, m := range []*drivers.ExecTaskStreamingResponseMsg{
		{Stdout: &proto.ExecTaskStreamingIOOperation{Close: true}},
		{Stderr: &proto.ExecTaskStreamingIOOperation{Close: true}},
	} {
		if err := s.send(m); err != nil {
			return err
		}
	}
	return s.ended(err)
}

func (s *session) terminal() error {
	ptmx, tty, err := openTerminal()
	if err != nil {
		return err
	}
	defer ptmx.Close()
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr.Setctty = true
	// Whoever runs inside must be able to open its own terminal.
	if cred := s.cmd.SysProcAttr.Credential; cred != nil {
		tty.Chown(int(cred.Uid), int(cred.Gid))
	}
	err = s.cmd.Start()
	tty.Close()
	if err != nil {
		return fmt.Errorf("start command: %w", err)
	}
	s.task.joined(s.cmd)
	go s.input(ptmx, ptmx)
	exited, copied := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(copied)
		s.output(ptmx, exited)
	}()
	err = s.cmd.Wait()
	close(exited)
	ptmx.SetReadDeadline(time.Now().Add(quiet))
	<-copied
	if err := s.send(&drivers.ExecTaskStreamingResponseMsg{Stdout: &proto.ExecTaskStreamingIOOperation{Close: true}}); err != nil {
		return err
	}
	return s.ended(err)
}

// quiet is how long a terminal must be silent, after its first process ended,
// until its output counts as complete: processes in the background keep the
// terminal open, and the session is not theirs.
const quiet = 100 * time.Millisecond

// output passes on what the terminal shows. It ends with EIO when the last
// process has closed the terminal, or when it is quiet after the first ended.
func (s *session) output(terminal *os.File, exited <-chan struct{}) {
	buf := make([]byte, 8<<10)
	for {
		n, err := terminal.Read(buf)
		if n > 0 {
			m := &drivers.ExecTaskStreamingResponseMsg{Stdout: &proto.ExecTaskStreamingIOOperation{Data: buf[:n]}}
			if s.send(m) != nil {
				return
			}
		}
		if err != nil {
			return
		}
		select {
		case <-exited:
			terminal.SetReadDeadline(time.Now().Add(quiet))
		default:
		}
	}
}

// input passes on what the other side types until its stream ends, which it
// does, at the latest, with the call.
func (s *session) input(to io.WriteCloser, terminal *os.File) {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			return
		}
		if size := m.TtySize; size != nil && terminal != nil {
			resize(terminal, size.Height, size.Width)
		}
		if in := m.Stdin; in != nil {
			if len(in.Data) > 0 {
				// The command may not read any more; the next Recv must still
				// be made, or the other side's heartbeats pile up.
				to.Write(in.Data)
			}
			if in.Close && terminal == nil {
				to.Close()
			}
		}
	}
}

// sender is a writer that sends.
type sender func([]byte) error

func (s sender) Write(b []byte) (int, error) {
	if err := s(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// openTerminal makes a pseudo-terminal. Read deadlines hold on the near end: that
// of creack/pty blocks, and its Setsize makes any other block.
func openTerminal() (ptmx, tty *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	ptmx = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		ptmx.Close()
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	return ptmx, tty, nil
}

func resize(terminal *os.File, rows, columns int32) {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return
	}
	conn.Control(func(fd uintptr) {
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	})
}
