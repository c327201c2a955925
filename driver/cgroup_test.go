package driver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/helper/uuid"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// newCgroup2 is a real cgroup of version 2, where this node has a writable one.
func newCgroup2(t *testing.T) cgroup {
	t.Helper()
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
	t.Cleanup(func() {
		eventually(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil })
	})
	if c := findCgroup(root, scope); c.v2 != "" {
		t.Error("took a cgroup that is not the task's")
	}
	c := findCgroup(dir, scope)
	if c.v2 != dir {
		t.Fatalf("found %+v", c)
	}
	return c
}

func TestCgroup2(t *testing.T) {
	c := newCgroup2(t)
	// Where version 1 has the controller of processors, this is refused: then the seat
	// has one cgroup, and works.
	if err := c.divide(); (err == nil) != c.divided() {
		t.Errorf("divided: %v, %v", c.divided(), err)
	}
	group, err := c.open(hostPart)
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
	if err := c.unite(t.Context()); c.divided() {
		t.Errorf("the parts are left: %v", err)
	}
}

// What is written into version 2, whose controller of processors this node may not have.
// The parts exist already, as after a plugin that died: the test cannot make their files.
func TestPartsOfCgroup2(t *testing.T) {
	dir := t.TempDir()
	c := cgroup{v2: dir, cpu: dir}
	files := map[string]string{
		"cgroup.subtree_control": "+cpu", "stream-host/cpu.weight": "400", "cell/cpu.weight": "100",
	}
	for name := range files {
		testkit.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	testkit.Must(t, c.divide())
	for name, want := range files {
		if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s has %q, want %q, %v", name, b, want, err)
		}
	}
	// Where processes are cannot be divided, so none may start in the task's own directory.
	for p, want := range map[part]string{hostPart: "stream-host", cellPart: "cell"} {
		f, err := c.open(p)
		testkit.Must(t, err)
		if f.Name() != filepath.Join(dir, want) {
			t.Errorf("a process of %s starts in %s", p, f.Name())
		}
		f.Close()
	}
}

// newCgroup1 is one of version 1, in Nomad's layout: the path that it gives is shared.
func newCgroup1(t *testing.T) (c cgroup, dirs map[string]string) {
	t.Helper()
	const root = "/sys/fs/cgroup"
	scope := uuid.Generate() + ".seat"
	dirs = map[string]string{}
	for _, h := range []string{"freezer", "cpu", "memory"} {
		dirs[h] = filepath.Join(root, h, "nearcast-test", scope)
		if _, err := os.Stat(filepath.Join(root, h, "cgroup.procs")); err != nil {
			t.Skip("no cgroups of version 1")
		}
		if err := os.MkdirAll(dirs[h], 0o755); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() {
			eventually(t, "the cgroup is empty", func() bool { return os.Remove(dirs[h]) == nil })
			os.Remove(filepath.Dir(dirs[h]))
		})
	}
	share := filepath.Join(root, "cpuset", "nearcast-test", "share")
	if err := os.MkdirAll(share, 0o755); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.Remove(share); os.Remove(filepath.Dir(share)) })
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, _ := os.ReadFile(filepath.Join(root, "cpuset", f))
		os.WriteFile(filepath.Join(filepath.Dir(share), f), b, 0)
		os.WriteFile(filepath.Join(share, f), b, 0)
	}
	c = findCgroup(share, scope)
	if c.freezer != dirs["freezer"] || c.cpu != dirs["cpu"] || len(c.v1) != 3 || c.v2 != "" {
		t.Fatalf("found %+v", c)
	}
	return c, dirs
}

func TestCgroup1(t *testing.T) {
	for _, divided := range []bool{false, true} {
		t.Run("divided="+strconv.FormatBool(divided), func(t *testing.T) {
			c, dirs := newCgroup1(t)
			cpu := dirs["cpu"]
			if divided {
				testkit.Must(t, c.divide())
				cpu = filepath.Join(cpu, "cell")
			}
			cmd := exec.Command("sleep", "1000")
			testkit.Must(t, cmd.Start())
			if err := c.enter(cmd.Process.Pid, cellPart); err != nil {
				t.Error(err)
			}
			for _, dir := range []string{dirs["memory"], dirs["freezer"], cpu} {
				if b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")); string(b) != strconv.Itoa(cmd.Process.Pid)+"\n" {
					t.Errorf("%s has %q", dir, b)
				}
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
			spec := &wire.Spec{Nonce: newNonce()}
			if divided {
				spec.CellCgroup = c.dir(cellPart)
			}
			// As with an orphan, whose cgroup Nomad does not tell.
			if err := endSeat(t.Context(), spec, cgroup{}); err != nil || c.divided() {
				t.Errorf("divided: %v, %v", c.divided(), err)
			}
		})
	}
}

// An app that is hungry does not starve its stream host: four loops of the app and one
// of the stream host want the same processor. Whatever else runs there, both get parts of
// what the task gets.
func TestHungryApp(t *testing.T) {
	share := func(t *testing.T, divided bool) float64 {
		c, _ := newCgroup1(t)
		if divided {
			testkit.Must(t, c.divide())
		}
		var loops []*exec.Cmd
		defer func() {
			for _, l := range loops {
				l.Process.Kill()
				l.Wait()
			}
			if err := c.unite(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		for _, p := range []part{hostPart, cellPart, cellPart, cellPart, cellPart} {
			l := exec.Command("/bin/sh", "-c", "while :; do :; done")
			testkit.Must(t, l.Start())
			loops = append(loops, l)
			one := unix.CPUSet{}
			one.Set(0)
			testkit.Must(t, unix.SchedSetaffinity(l.Process.Pid, &one))
			testkit.Must(t, c.enter(l.Process.Pid, p))
		}
		times := func() (host, all time.Duration) {
			for i, l := range loops {
				p, err := readProcess(l.Process.Pid)
				testkit.Must(t, err)
				all += p.user + p.system
				if i == 0 {
					host = p.user + p.system
				}
			}
			return host, all
		}
		host0, all0 := times()
		var host, all time.Duration
		eventually(t, "the loops ran for two seconds", func() bool {
			host, all = times()
			return all-all0 > 2*time.Second
		})
		return float64(host-host0) / float64(all-all0)
	}
	one, parts := share(t, false), share(t, true)
	t.Logf("the stream host got %.2f of the seat's processor time in one cgroup, %.2f in a part of its own", one, parts)
	if parts < 3*one {
		t.Errorf("the stream host got %.2f of the seat's processor time, without parts %.2f", parts, one)
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

// cpuGroup is the cgroup by which a process gets its processor time, in version 1 or 2.
func cpuGroup(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	testkit.Must(t, err)
	group := ""
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		for controller := range strings.SplitSeq(fields[1], ",") {
			if controller == "cpu" || controller == "" && group == "" {
				group = fields[2]
			}
		}
	}
	return group
}
