package testkit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProcess(t *testing.T) {
	var p *Process
	t.Run("use", func(t *testing.T) {
		p = Start(t, exec.Command("sleep", "1000"))
		if err := syscall.Kill(p.PID(), 0); err != nil {
			t.Fatal(err)
		}
	})
	select {
	case <-p.Done():
	default:
		t.Error("a process outlives its test")
	}

	cmd := exec.Command("/bin/sh", "-c", `trap "echo asked; exit 0" TERM; echo ready; while :; do sleep 0.01; done`)
	out := output(t, cmd)
	p = Start(t, cmd)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("it does not begin")
	}
	if err := goleak.Find(IgnoreProcesses()); err != nil {
		t.Error(err)
	}
	stopped := make(chan struct{})
	go func() { p.Stop(); close(stopped) }()
	if !lines.Scan() || lines.Text() != "asked" {
		t.Errorf("it says %q", lines.Text())
	}
	<-stopped
	if said := failing(t, func(t testing.TB) { Start(t, exec.Command("/no/such/program")) }); !strings.Contains(said, "start /no/such/program") {
		t.Errorf("a program that is missing: %q", said)
	}
}

// output is what a program prints.
func output(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	Must(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	Must(t, r.SetReadDeadline(time.Now().Add(patience)))
	cmd.Stdout = w
	return r
}

// TestProcessOutlivesThread holds that a process does not end with the thread of the
// goroutine that started it.
func TestProcessOutlivesThread(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	Must(t, err)
	out := output(t, cmd)
	thread := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if syscall.Gettid() == os.Getpid() {
			// The first thread never ends. While this goroutine has it, another cannot.
			done := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				Start(t, cmd)
				thread <- syscall.Gettid()
				close(done)
			}()
			<-done
			return
		}
		Start(t, cmd)
		thread <- syscall.Gettid()
	}()
	task := fmt.Sprintf("/proc/self/task/%d", <-thread)
	Until(t, "the thread ends", func() bool {
		_, err := os.Stat(task)
		return errors.Is(err, os.ErrNotExist)
	})
	_, err = io.WriteString(in, "alive\n")
	Must(t, err)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "alive\n" {
		t.Errorf("it says %q, %v", line, err)
	}
}
