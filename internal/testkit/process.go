package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Process is a program that a test runs.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs a program. It is killed when the test ends, and when the test's
// process dies. The end of its output is shown where the test fails, unless the
// command says where the output goes.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	if cmd.Stdout == nil && cmd.Stderr == nil {
		log := logFile(t, filepath.Base(cmd.Path))
		cmd.Stdout, cmd.Stderr = log, log
	}
	p, err := start(cmd)
	if err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(p.Kill)
	return p
}

func start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	return p, <-started
}

func (p *Process) run(started chan<- error) {
	// The kernel sends the parent-death signal when the *thread* that started the
	// child ends. Go ends a thread when a goroutine that locked it returns, and the
	// thread of a test can be locked later by such a goroutine. So this goroutine
	// holds a thread of its own until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.cmd.Wait()
		close(p.done)
	}
}

// IgnoreProcesses is for a test that looks for leaks while its servers run: each
// has a goroutine.
func IgnoreProcesses() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/nearcast/nearcast/internal/testkit.(*Process).run")
}

// NoLeaks fails the test where a goroutine is left that was not there before. It
// ignores processes of this package, and idle connections of HTTP clients.
func NoLeaks(t testing.TB, before goleak.Option) {
	t.Helper()
	goleak.VerifyNone(t, before, IgnoreProcesses(),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end, and kills it after 5 s.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	<-p.done
}

// logFile is a file for a program's output. The end of it is shown where the test
// fails.
func logFile(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if !t.Failed() {
			return
		}
		if text, err := os.ReadFile(f.Name()); err == nil && len(text) > 0 {
			t.Logf("the last output of %s:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	return f
}
