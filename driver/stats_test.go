package driver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
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

// A real cgroup of version 2, where this node has a writable one.
func TestCgroup2(t *testing.T) {
	root := ""
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			root = dir
		}
	}
	scope := uuid.Generate() + ".seat"
	dir := filepath.Join(root, scope+".scope")
	if root == "" || os.Mkdir(dir, 0o755) != nil {
		t.Skip("no writable cgroup of version 2")
	}
	defer func() {
		eventually(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
	}()
	if c := findCgroup(root, scope); c.v2 != "" {
		t.Error("took a cgroup that is not the task's")
	}
	c := findCgroup(dir, scope)
	if c.v2 != dir {
		t.Fatalf("found %+v", c)
	}
	group, err := c.open()
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &meter{group: c, nonce: "none", known: map[procID]bool{processOf(cmd.Process.Pid): true}}
	eventually(t, "its CPU is counted", func() bool {
		u := m.read()
		return u.user+u.system > 50*time.Millisecond
	})
	if u := m.read(); u.total == 0 {
		t.Errorf("memory %+v", u)
	}
	if err := c.kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("cgroup.kill: %v", err)
	}
}

// Version 1, in Nomad's layout: the path that it gives is shared.
func TestCgroup1(t *testing.T) {
	const root = "/sys/fs/cgroup"
	scope := uuid.Generate() + ".seat"
	dirs := map[string]string{}
	for _, h := range []string{"freezer", "cpu", "memory"} {
		dirs[h] = filepath.Join(root, h, "nearcast-test", scope)
		if _, err := os.Stat(filepath.Join(root, h, "cgroup.procs")); err != nil {
			t.Skip("no cgroups of version 1")
		}
		if err := os.MkdirAll(dirs[h], 0o755); err != nil {
			t.Skip(err)
		}
		defer func() {
			eventually(t, "the cgroup is empty", func() bool { return os.Remove(dirs[h]) == nil })
			os.Remove(filepath.Dir(dirs[h]))
		}()
	}
	share := filepath.Join(root, "cpuset", "nearcast-test", "share")
	if err := os.MkdirAll(share, 0o755); err != nil {
		t.Skip(err)
	}
	defer func() { os.Remove(share); os.Remove(filepath.Dir(share)) }()
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, _ := os.ReadFile(filepath.Join(root, "cpuset", f))
		os.WriteFile(filepath.Join(filepath.Dir(share), f), b, 0)
		os.WriteFile(filepath.Join(share, f), b, 0)
	}
	c := findCgroup(share, scope)
	if c.freezer != dirs["freezer"] || len(c.v1) != 4 || c.v2 != "" {
		t.Fatalf("found %+v", c)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.enter(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dirs["memory"], "cgroup.procs")); string(b) != strconv.Itoa(cmd.Process.Pid)+"\n" {
		t.Errorf("memory cgroup has %q", b)
	}
	// A frozen process must die too.
	if err := write(c.freezer, "freezer.state", "FROZEN"); err != nil {
		t.Error(err)
	}
	if err := c.kill(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it still ran")
	}
}

func TestMemoryLimits(t *testing.T) {
	for _, tt := range []struct{ mb, maxMB, hard, soft int64 }{
		{300, 0, 300 << 20, 0}, {300, 500, 500 << 20, 300 << 20}, {300, -1, -1, 300 << 20},
	} {
		if hard, soft := memoryLimits(tt.mb, tt.maxMB); hard != tt.hard || soft != tt.soft {
			t.Errorf("%+v: %d, %d", tt, hard, soft)
		}
	}
}

// BenchmarkReadProc is what a measurement costs without a cgroup of version 2.
func BenchmarkReadProc(b *testing.B) {
	m := &meter{nonce: newNonce()}
	for b.Loop() {
		m.readProc()
	}
}
