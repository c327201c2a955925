// Package testcell makes cells for the tests of packages that run programs in one. It
// takes the place of the keeper; the first process and the file system are the real ones.
//
//	func TestMain(m *testing.M) {
//		testcell.Main()
//		…
//	}
//
//	c := testcell.Start(t, testcell.Options{Isolate: true})
//	p, err := c.Start(ctx, cell.Program{Name: cell.App, Path: "/bin/true", Dir: c.Dir})
package testcell

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellinit"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// Main is the first process of a cell, where this process is meant to be one. Then it
// does not return.
func Main() {
	if len(os.Args) > 1 && os.Args[1] == cellinit.Arg {
		cellinit.Main()
	}
}

// Options say what the cell is like.
type Options struct {
	// Isolate makes a cell with namespaces and a file system of its own. It needs root.
	// Without it there is only the first process.
	Isolate bool
	// Processes limits the number of processes and threads; 0 is no limit.
	Processes uint64
	// AppNice is by how much the app is nicer than the other programs.
	AppNice int
	// Env is the environment of the first process.
	Env []string
	// Command is an executable file of the node that the cell has too.
	Command string
}

// Cell is a cell whose first process runs.
type Cell struct {
	*cell.Client
	// Dir is the directory of the task, in which the programs can write.
	Dir string
	// Identity runs the programs.
	Identity cell.Identity
	// Ended is closed when the first process has ended.
	Ended <-chan struct{}
}

var made atomic.Int32

// identity is nobody else's. Without root it is this process's.
func identity() cell.Identity {
	if os.Geteuid() != 0 {
		return cell.Identity{UID: os.Geteuid(), GID: os.Getegid()}
	}
	uid := 1_700_000_000 + os.Getpid()%1_000_000*100 + int(made.Add(1))%100
	return cell.Identity{UID: uid, GID: uid, Groups: []int{uid}}
}

// Start makes a cell, which ends with the test. Where this process is root, the cell's
// programs have a user of their own.
func Start(t testing.TB, o Options) *Cell {
	t.Helper()
	dir, err := os.MkdirTemp("", "nc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &Cell{Dir: filepath.Join(dir, "task"), Identity: identity()}
	root := os.Geteuid() == 0
	for _, d := range []string{dir, c.Dir, filepath.Join(dir, "base")} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(c.Dir, c.Identity.UID, c.Identity.GID); err != nil {
		t.Fatal(err)
	}
	s := cellinit.Spec{Identity: c.Identity, Drop: root, MaxProcesses: o.Processes, AppNice: o.AppNice}
	attr := &syscall.SysProcAttr{Setsid: true}
	m := cell.Made{Home: c.Dir, Runtime: c.Dir}
	if o.Isolate {
		s.OwnPids, s.Loopback = true, true
		s.Root = &cellroot.Root{
			Base: filepath.Join(dir, "base"), ReadOnly: cellroot.NodePaths, TaskDir: c.Dir,
			Writable: 16 << 20, Command: o.Command,
		}
		attr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET
		attr.Pdeathsig = syscall.SIGKILL
		m.Isolated, m.OwnRoot, m.User = true, true, cellroot.User
		m.Home, m.Runtime = cellroot.Home(), cellroot.Runtime(c.Identity.UID)
	}
	ours, theirs, err := cell.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	spec, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer spec.Close()
	cmd := exec.Command("/proc/self/exe", cellinit.Arg)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.SysProcAttr = "/", append([]string{}, o.Env...), os.Stderr, attr
	cmd.ExtraFiles = []*os.File{theirs, spec} // cellinit.ConnFD, SpecFD
	if c.Ended, err = start(cmd); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	var ready cell.Event
	if _, err := ours.Receive(&ready); err != nil || ready.Error != "" {
		ours.Close()
		cmd.Process.Kill()
		<-c.Ended
		t.Fatalf("make the cell: %v %s", err, ready.Error)
	}
	m.Init = cmd.Process.Pid
	c.Client = cell.NewClient(m, ours)
	t.Cleanup(func() {
		c.Close()
		if o.Isolate {
			cmd.Process.Kill() // as the keeper does: the first process may be stuck
		}
		<-c.Ended
	})
	return c
}

// start starts a process on a thread of its own: the process may end with it.
func start(cmd *exec.Cmd) (ended <-chan struct{}, err error) {
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the first process: %w", err)
	}
	return done, nil
}
