package driver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTaskStats(t *testing.T) {
	b := newBench(t, "")
	b.driver.cpu = cpuInfo{mhz: 4000, cores: 2}
	cfg := job("while :; do :; done", nil)
	b.start(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ch, err := b.TaskStats(ctx, cfg.ID, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for u := range ch {
		cpu, mem := u.ResourceUsage.CpuStats, u.ResourceUsage.MemoryStats
		if mem.RSS < 1<<20 || mem.Usage < mem.RSS {
			t.Errorf("memory %+v", mem)
		}
		// A busy loop has a core to itself, or a good part of one here.
		if cpu.Percent < 20 {
			continue
		}
		if cpu.Percent > 250 || cpu.TotalTicks < cpu.Percent/100*2000*0.99 || cpu.TotalTicks > cpu.Percent/100*2000*1.01 {
			t.Errorf("cpu %+v", cpu)
		}
		cancel()
		return
	}
	t.Error("the app's CPU was never seen")
}

// Processes come and go. Their time must neither fall nor count twice.
func TestStatsOfDyingChildren(t *testing.T) {
	s := time.Second
	p := func(pid int, user time.Duration) process { return process{pid: pid, start: 1, state: 'S', user: user} }
	m := &meter{}
	for i, step := range []struct {
		seat []process
		want time.Duration
	}{
		{[]process{p(1, 1*s), p(2, 5*s)}, 6 * s},
		{[]process{p(1, 6*s)}, 6 * s},             // 2 ended, 1 waited for it
		{[]process{p(1, 7*s), p(3, 2*s)}, 9 * s},  // 3 is new
		{[]process{p(1, 7*s)}, 9 * s},             // 3 ended, nobody waited
		{[]process{p(1, 8*s), p(4, 1*s)}, 11 * s}, // and time goes on
		{nil, 11 * s},
	} {
		m.last = m.sum(step.seat)
		if m.last.user != step.want {
			t.Errorf("step %d: %v, want %v", i, m.last.user, step.want)
		}
	}
}

func TestReadProcess(t *testing.T) {
	// A name that looks like the rest of the line.
	dir := t.TempDir()
	name := filepath.Join(dir, "x) Z 1 (y")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(sleep, name); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p, err := readProcess(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.ppid != os.Getpid() || !p.alive() || p.start == 0 {
		t.Errorf("got %+v", p)
	}
	if _, err := watchProcess(procID{p.pid, p.start + 1}); err == nil {
		t.Error("watches a process that started at another time")
	}
	w, err := watchProcess(p.id())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- w.wait() }()
	}
	if err := w.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	w.close()
	if err := w.wait(); err == nil {
		t.Error("a closed watch reports an end")
	}
}

// An app may clear its environment. Its descendants are still found.
func TestFamilyWithoutMark(t *testing.T) {
	nonce := newNonce()
	cmd := exec.Command("/bin/sh", "-c", "env -i sleep 1000 & sleep 1000")
	cmd.Env = []string{nonceEnv + "=" + nonce, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	eventually(t, "sh and two sleeps run", func() bool { return seatProcesses(t, nonce) == 3 })
	if err := killFamily(t.Context(), mark{nonce: nonce}, cgroup{}); err != nil {
		t.Error(err)
	}
	if n := seatProcesses(t, nonce); n != 0 {
		t.Errorf("%d are left", n)
	}
	cmd.Wait()
}

// BenchmarkReadProc is what a measurement costs without a cgroup of version 2.
func BenchmarkReadProc(b *testing.B) {
	m := &meter{nonce: newNonce()}
	for b.Loop() {
		m.readProc()
	}
}
