package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// process is a server that the benchmark runs. It ends with the benchmark, also where
// that is killed.
type process struct {
	cmd  *exec.Cmd
	log  string // the file with its output
	done chan struct{}
}

// spawn starts a program, with its output in a file.
func spawn(log string, cmd *exec.Cmd) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own, so that Ctrl-C reaches the benchmark alone, which ends the
	// servers in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) run(started chan<- error) {
	// The signal at the parent's death comes when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait()
		close(p.done)
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// alive is an error where the process has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended: %s", p.cmd.Path, tail(p.log))
	default:
		return nil
	}
}

// kill ends the process as kill -9 does, and waits for its end.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// cpu is how many seconds of a processor the process has used.
func (p *process) cpu() float64 {
	proc, err := procfs.NewProc(p.pid())
	if err != nil {
		return 0
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}

// ownCPU is how many seconds of a processor the benchmark itself has used.
func ownCPU() float64 {
	proc, err := procfs.Self()
	if err != nil {
		return 0
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}

// memory is the resident memory in MB, now and at most since the start.
func (p *process) memory() (now, peak float64) {
	proc, err := procfs.NewProc(p.pid())
	if err != nil {
		return 0, 0
	}
	status, err := proc.NewStatus()
	if err != nil {
		return 0, 0
	}
	return float64(status.VmRSS) / 1e6, float64(status.VmHWM) / 1e6
}

// tail is the end of a file.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1500):])
}

// files makes sure that the benchmark and what it starts may open n files each.
func files(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	want := syscall.Rlimit{Cur: max(n, limit.Cur), Max: max(n, limit.Max)}
	// Also where it is enough: only a limit that was set is inherited by the servers.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err == nil {
		return nil
	}
	if limit.Max < n {
		return fmt.Errorf("%d files may be open, and %d sockets are needed: raise the limit as root with \"ulimit -n %d\" before, or take fewer seats (-seats) or -quick", limit.Max, n, n)
	}
	want = syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", limit.Max, err)
	}
	return nil
}

// cpus are the CPU seconds of some processes together.
func cpus(list []*process) (seconds float64) {
	for _, p := range list {
		seconds += p.cpu()
	}
	return seconds
}

// pause waits, and reports false where the wait was broken off.
func pause(done <-chan struct{}, d time.Duration) bool {
	if d <= 0 {
		select {
		case <-done:
			return false
		default:
			return true
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return false
	case <-t.C:
		return true
	}
}
