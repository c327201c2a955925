package landlock

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// outcome is an attempt, and the error under rules; "" succeeds. since is the version
// of Landlock that refuses it.
type outcome struct {
	attempt
	want  string
	since int
}

// check tries all under the rules and without any, where each must succeed.
func check(t *testing.T, rules func(dir string) Rules, outcomes func(dir string) []outcome) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, which is refused nothing without rules")
	}
	kernel := Version()
	if kernel == 0 {
		t.Skip("this kernel has no Landlock")
	}
	for _, ruled := range []bool{false, true} {
		dir := place(t)
		all := outcomes(dir)
		var attempts []attempt
		for _, o := range all {
			attempts = append(attempts, o.attempt)
		}
		var r *Rules
		if ruled {
			made := rules(dir)
			r = &made
		}
		for i, got := range try(t, r, attempts) {
			want := ""
			if ruled && kernel >= all[i].since {
				want = all[i].want
			}
			if got != want {
				t.Errorf("with rules %v: %s %s %s: %q, want %q", ruled, all[i].Do, all[i].Path, all[i].To, got, want)
			}
		}
	}
}

// outside is a process outside the rules, and an abstract socket of this one.
func outside(t *testing.T) (pid int, socket string) {
	t.Helper()
	self, err := os.Executable()
	testkit.Must(t, err)
	cmd := exec.CommandContext(t.Context(), self, probeArg)
	in, err := cmd.StdinPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	socket = "@nearcast-landlock-" + strconv.Itoa(cmd.Process.Pid)
	l, err := net.Listen("unix", socket)
	testkit.Must(t, err)
	t.Cleanup(func() { l.Close() })
	return cmd.Process.Pid, socket
}

func TestCell(t *testing.T) {
	pid, socket := outside(t)
	self, err := os.Executable()
	testkit.Must(t, err)
	in := func(dir, name string) string { return filepath.Join(dir, name) }
	check(t, func(dir string) Rules { return Cell(in(dir, "mine"), "/dev", "/proc", "/nonexistent") },
		func(dir string) []outcome {
			return []outcome{
				{attempt{Do: "read", Path: in(dir, "mine/file")}, "", 0},
				{attempt{Do: "write", Path: in(dir, "mine/file")}, "", 0},
				{attempt{Do: "create", Path: in(dir, "mine/new")}, "", 0},
				{attempt{Do: "truncate", Path: in(dir, "mine/file")}, "", 0},
				{attempt{Do: "mkdir", Path: in(dir, "mine/newdir")}, "", 0},
				{attempt{Do: "remove", Path: in(dir, "mine/gone")}, "", 0},
				{attempt{Do: "rename", Path: in(dir, "mine/a/moves"), To: in(dir, "mine/b/moved")}, "", 0},
				{attempt{Do: "fifo", Path: in(dir, "mine/fifo")}, "", 0},
				{attempt{Do: "bind", Path: in(dir, "mine/socket")}, "", 0},
				{attempt{Do: "execute", Path: self, To: quietArg}, "", 0},
				{attempt{Do: "write", Path: "/dev/null"}, "", 0},
				{attempt{Do: "ioctl", Path: "/dev/ptmx"}, "", 0},
				{attempt{Do: "write", Path: "/proc/self/comm"}, "", 0},
				{attempt{Do: "tcp"}, "", 0},
				{attempt{Do: "read", Path: in(dir, "other/file")}, "", 0},
				{attempt{Do: "list", Path: in(dir, "other")}, "", 0},
				{attempt{Do: "connect to itself", Path: socket + "-inside"}, "", 0},
				{attempt{Do: "signal a child"}, "", 0},

				{attempt{Do: "write", Path: in(dir, "other/file")}, "EACCES", 1},
				{attempt{Do: "create", Path: in(dir, "other/new")}, "EACCES", 1},
				{attempt{Do: "truncate", Path: in(dir, "other/file")}, "EACCES", 3},
				{attempt{Do: "mkdir", Path: in(dir, "other/newdir")}, "EACCES", 1},
				{attempt{Do: "fifo", Path: in(dir, "other/fifo")}, "EACCES", 1},
				{attempt{Do: "bind", Path: in(dir, "other/socket")}, "EACCES", 1},
				{attempt{Do: "remove", Path: in(dir, "other/gone")}, "EACCES", 1},
				{attempt{Do: "rename", Path: in(dir, "other/a/moves"), To: in(dir, "mine/b/stolen")}, "EACCES", 1},
				{attempt{Do: "connect", Path: socket}, "EPERM", 6},
				{attempt{Do: "signal", PID: pid}, "EPERM", 6},
				{attempt{Do: "mount", Path: in(dir, "mine/b")}, "EPERM", 1},
			}
		})
}

func TestStreamHost(t *testing.T) {
	pid, socket := outside(t)
	self, err := os.Executable()
	testkit.Must(t, err)
	in := func(dir, name string) string { return filepath.Join(dir, name) }
	segment := "/dev/shm/nearcast-landlock-" + strconv.Itoa(pid)
	t.Cleanup(func() { os.Remove(segment) }) // the run without rules makes it
	check(t, func(dir string) Rules {
		os.Remove(segment)
		return StreamHost(self, nil, in(dir, "mine"))
	},
		func(dir string) []outcome {
			return []outcome{
				{attempt{Do: "read", Path: in(dir, "mine/file")}, "", 0},
				{attempt{Do: "read", Path: "/etc/passwd"}, "", 0},
				{attempt{Do: "list", Path: "/usr/lib"}, "", 0},
				{attempt{Do: "read", Path: "/proc/self/status"}, "", 0},
				{attempt{Do: "read", Path: "/dev/urandom"}, "", 0},
				{attempt{Do: "write", Path: "/dev/null"}, "", 0},
				{attempt{Do: "execute", Path: self, To: quietArg}, "", 0},
				{attempt{Do: "tcp"}, "", 0},
				{attempt{Do: "signal a child"}, "", 0},

				{attempt{Do: "read", Path: in(dir, "other/file")}, "EACCES", 1},
				{attempt{Do: "list", Path: in(dir, "other")}, "EACCES", 1},
				{attempt{Do: "write", Path: in(dir, "mine/file")}, "EACCES", 1},
				{attempt{Do: "create", Path: in(dir, "mine/new")}, "EACCES", 1},
				{attempt{Do: "truncate", Path: in(dir, "mine/file")}, "EACCES", 3},
				{attempt{Do: "mkdir", Path: in(dir, "mine/newdir")}, "EACCES", 1},
				{attempt{Do: "remove", Path: in(dir, "mine/gone")}, "EACCES", 1},
				{attempt{Do: "create", Path: segment}, "EACCES", 1},
				{attempt{Do: "ioctl", Path: "/dev/ptmx"}, "EACCES", 1},
				{attempt{Do: "execute", Path: "/bin/true"}, "EACCES", 1},
				{attempt{Do: "connect", Path: socket}, "EPERM", 6},
				{attempt{Do: "signal", PID: pid}, "EPERM", 6},
				{attempt{Do: "mount", Path: in(dir, "mine/b")}, "EPERM", 1},
			}
		})
}

// TestLoader reads which file starts a program that has one.
func TestLoader(t *testing.T) {
	got, err := loaders([]string{"/bin/true", "/nonexistent"})
	testkit.Must(t, err)
	if len(got) != 1 {
		t.Fatalf("loaders of /bin/true: %v", got)
	}
	if _, err := os.Stat(got[0]); err != nil {
		t.Error(err)
	}
	if _, err := loaders([]string{"/etc/passwd"}); err == nil {
		t.Error("a file that is no program has a loader")
	}
}

// BenchmarkRestrict is what a start pays. Each time a thread ends, whose limits would
// else add up.
func BenchmarkRestrict(b *testing.B) {
	self, err := os.Executable()
	testkit.Must(b, err)
	for name, do := range map[string]func() error{
		"cell":        func() error { _, err := Restrict(Cell("/tmp", "/run", "/dev", "/proc")); return err },
		"stream host": func() error { _, err := Restrict(StreamHost(self, nil)); return err },
		"none":        func() error { return nil },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				done := make(chan error)
				go func() {
					runtime.LockOSThread()
					done <- do()
				}()
				testkit.Must(b, <-done)
			}
		})
	}
}
