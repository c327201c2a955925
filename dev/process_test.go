package dev

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell is a service that runs a script.
func shell(t *testing.T, script string, ready func(context.Context) error) service {
	if ready == nil {
		ready = func(context.Context) error { return nil }
	}
	return service{
		name: "shell", argv: []string{"/bin/sh", "-c", script}, env: os.Environ(),
		log: filepath.Join(t.TempDir(), "shell.log"), ready: ready, grace: 500 * time.Millisecond,
	}
}

func run(t *testing.T, s service) *process {
	p := startProcess(s, NewLogger(nil), func() {})
	t.Cleanup(p.stop)
	return p
}

func short(t *testing.T) context.Context { return testkit.Context(t, time.Minute) }

// waitStatus waits for a status that pleases.
func waitStatus(t *testing.T, p *process, pleases func(ProcessStatus) bool) ProcessStatus {
	t.Helper()
	ctx := short(t)
	for {
		status, changed := p.snapshot()
		if pleases(status) {
			return status
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("status stays %+v", status)
		}
	}
}

func TestProcessRestarts(t *testing.T) {
	p := run(t, shell(t, "exec sleep 1000", nil))
	if err := p.wait(short(t)); err != nil {
		t.Fatal(err)
	}
	first, _ := p.snapshot()
	if !alive(first.PID, first.Started) {
		t.Fatalf("process %d is not alive", first.PID)
	}
	if err := p.kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := waitStatus(t, p, func(s ProcessStatus) bool { return s.State == StateReady && s.PID != first.PID })
	if second.Restarts != 1 || !strings.Contains(second.LastExit, "killed") {
		t.Errorf("status %+v does not tell about the exit", second)
	}
	p.stop()
	if alive(second.PID, second.Started) || alive(first.PID, first.Started) {
		t.Error("a child outlives stop")
	}
}

// A child that never comes up makes wait return with what it said.
func TestProcessThatDies(t *testing.T) {
	p := run(t, shell(t, "echo the disk is on fire >&2; exit 3", func(context.Context) error { return errors.New("no") }))
	err := p.wait(short(t))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the disk is on fire") {
		t.Errorf("wait: %v", err)
	}
}

// A child that starts and never serves makes wait say what it waited for.
func TestProcessNotReady(t *testing.T) {
	p := run(t, shell(t, "exec sleep 1000", func(context.Context) error { return errors.New("no leader yet") }))
	waitStatus(t, p, func(s ProcessStatus) bool { return s.notReady != "" })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no leader yet") {
		t.Errorf("wait: %v", err)
	}
}

// A child that ignores SIGTERM is killed when its grace is over.
func TestProcessStubborn(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	p := run(t, shell(t, `trap "" TERM; : > `+ready+`; while :; do sleep 0.1; done`, func(context.Context) error {
		_, err := os.Stat(ready)
		return err
	}))
	if err := p.wait(short(t)); err != nil {
		t.Fatal(err)
	}
	status, _ := p.snapshot()
	began := time.Now()
	p.stop()
	if alive(status.PID, status.Started) {
		t.Error("it is still alive")
	}
	if took := time.Since(began); took < 500*time.Millisecond || took > 5*time.Second {
		t.Errorf("it was ended after %s, its grace is 500ms", took)
	}
}

func TestAlive(t *testing.T) {
	ticks, err := startTicks(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pid     int
		started uint64
		want    bool
	}{
		{os.Getpid(), ticks, true},
		{os.Getpid(), ticks + 1, false}, // the pid was used again
		{0, 0, false},
		{1 << 30, 1, false},
	} {
		if alive(c.pid, c.started) != c.want {
			t.Errorf("alive(%d, %d) is not %v", c.pid, c.started, c.want)
		}
	}
}
