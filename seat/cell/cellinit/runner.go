package cellinit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
)

// runner is the second step of the first process. It runs as the seat's user.
type runner struct {
	spec Spec
	conn *cell.Conn

	mu       sync.Mutex     // held to start, to signal and to reap, so that a pid is not reused in between
	programs map[string]int // pids
	app      bool           // the app has been started
}

func newRunner(s Spec, conn *cell.Conn) *runner {
	return &runner{spec: s, conn: conn, programs: map[string]int{}}
}

// run carries out orders until the stream host is gone. The calling thread starts all
// programs: a program ends with the thread that started it.
func (r *runner) run() error {
	// Programs of the cell have the same user, and must not read or change this process.
	if !cell.Without("dumpable") {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return fmt.Errorf("set undumpable: %w", err)
		}
	}
	if !r.spec.OwnPids {
		// The kernel gives orphans to this process, as in a pid namespace.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("become subreaper: %w", err)
		}
	}
	// No signal ends this process. They are caught, not ignored: programs would
	// inherit that.
	signal.Notify(make(chan os.Signal, 1))
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	go func() {
		for range children {
			r.reap()
		}
	}()
	if err := r.conn.Send(cell.Event{PID: os.Getpid()}); err != nil {
		return fmt.Errorf("report that the cell is made: %w", err)
	}
	for {
		var o cell.Order
		files, err := r.conn.Receive(&o)
		if err != nil {
			break
		}
		e, file := r.carryOut(o, files)
		for _, f := range files {
			f.Close()
		}
		e.ID = o.ID
		if file != nil {
			r.conn.Send(e, file)
			file.Close()
		} else {
			r.conn.Send(e)
		}
	}
	// In a pid namespace the kernel now ends all processes.
	if !r.spec.OwnPids {
		r.endServers()
		r.endAll()
	}
	os.Exit(0)
	return nil
}

var errNoProgram = errors.New("no program is given")

// errLate says that the app could have changed what an order asks for.
var errLate = errors.New("the app runs already")

func (r *runner) carryOut(o cell.Order, files []*os.File) (e cell.Event, file *os.File) {
	var err error
	switch o.Op {
	case cell.OpWrite, cell.OpStart, cell.OpFind, cell.OpDial, cell.OpOpen, cell.OpListen, cell.OpListenLoopback:
		if r.app {
			err = errLate
			break
		}
		switch o.Op {
		case cell.OpWrite:
			err = writeFile(o.Path, o.Data)
		case cell.OpStart:
			e.PID, err = r.start(o.Program, files)
		case cell.OpFind:
			if o.Program == nil {
				err = errNoProgram
				break
			}
			_, err = r.find(o.Program)
		case cell.OpDial:
			file, err = dial(o.Path)
		case cell.OpOpen:
			file, err = cell.OpenPath(o.Path)
		case cell.OpListen:
			file, err = listen(o.Path)
		case cell.OpListenLoopback:
			file, err = listenLoopback()
		}
	case cell.OpParams:
		err = replaceFile(o.Path, o.Data)
	case cell.OpLink:
		err = link(o.Path, o.Target)
	case cell.OpSignal:
		err = r.signal(o.Name, syscall.Signal(o.Signal), o.Group)
	case cell.OpFreeze:
		r.signalApp(unix.SIGSTOP)
	case cell.OpThaw:
		r.signalApp(unix.SIGCONT)
	case cell.OpKill:
		r.signalApp(unix.SIGKILL)
	case cell.OpCPU:
		for _, p := range r.appProcesses() {
			e.CPU += cell.CPUTime(p).Nanoseconds()
		}
	default:
		err = fmt.Errorf("unknown order %q", o.Op)
	}
	if err != nil {
		return failed(o.ID, err), nil
	}
	return e, file
}

// writeFile makes a private file.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// replaceFile puts a file in place by rename. The app may have changed the directory:
// that is of no use to it, as this process has no more rights than the app.
func replaceFile(path string, text []byte) error {
	next := path + "." + rand.Text()
	if err := writeFile(next, text); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return nil
}

// link makes a symbolic link, or takes it away. As with replaceFile, an app that has
// changed the directory gains nothing.
func link(path, target string) error {
	if err := os.Remove(path); err != nil && (target == "" || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	if target == "" {
		return nil
	}
	return os.Symlink(target, path)
}

func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// listenLoopback makes a socket of the network of this process, which is the app's.
func listenLoopback() (*os.File, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.File()
}

func dial(path string) (*os.File, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.File()
}

// start starts a program with these files as its descriptors.
func (r *runner) start(p *cell.Program, files []*os.File) (pid int, err error) {
	if p == nil || p.Name == "" {
		return 0, errNoProgram
	}
	path := p.Path
	if p.Name == cell.App {
		if path, err = r.find(p); err != nil {
			return 0, err
		}
	}
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err = syscall.ForkExec(path, p.Args, &syscall.ProcAttr{
		Dir: p.Dir, Env: marked(os.Environ(), p.Env), Files: fds,
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: r.deathSignal(p.Name)},
	})
	if err != nil {
		return 0, cannotExecute(path, err)
	}
	if p.Name == cell.App && r.spec.AppNice != 0 {
		yield(pid, r.spec.AppNice)
	}
	r.programs[p.Name] = pid
	r.app = r.app || p.Name == cell.App
	return pid, nil
}

// yield makes a process group nicer than this process. It fails where the group has
// ended already, and then there is nothing to do.
func yield(group, by int) {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err == nil {
		// The system call returns 20 less the nice value. The group and not the process: it
		// may have forked already.
		unix.Setpriority(unix.PRIO_PGRP, group, min(20-own+by, 19))
	}
}

// marked adds to a program's environment what this process has: the mark by which the
// driver finds every process of the seat. A program does not get another one.
func marked(own, env []string) []string {
	all := slices.Clone(own)
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if !slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, name+"=") }) {
			all = append(all, kv)
		}
	}
	return all
}

// deathSignal is what a program gets when this process is killed. Without a cell, a
// display server must remove its files on the node.
func (r *runner) deathSignal(name string) syscall.Signal {
	if name == cell.App || r.spec.OwnPids {
		return unix.SIGKILL
	}
	return unix.SIGTERM
}

// signal signals a program's main process, or its process group.
func (r *runner) signal(name string, s syscall.Signal, group bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid := r.programs[name]
	if pid == 0 {
		return nil // it has ended; reap reports that
	}
	target := pid
	if group {
		target = -pid
	}
	err := syscall.Kill(target, s)
	if group && errors.Is(err, syscall.ESRCH) {
		err = syscall.Kill(pid, s) // it has left its group
	}
	return err
}

// reap waits for every process that has ended.
func (r *runner) reap() {
	for {
		r.mu.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		name := ""
		if err == nil && pid > 0 {
			for n, p := range r.programs {
				if p == pid {
					name = n
					delete(r.programs, n)
				}
			}
		}
		r.mu.Unlock()
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if name == "" {
			continue
		}
		e := cell.Event{End: name, ExitCode: status.ExitStatus()}
		if status.Signaled() {
			e.ExitCode, e.Signal = 0, int(status.Signal())
		}
		if name == cell.App {
			r.endApp()
		}
		r.conn.Send(e)
	}
}

// endTimeout is how long killing the app's processes one by one may take. Where they
// fork faster than that, the end of the cell is the only way.
const endTimeout = 2 * time.Second

// endApp kills the processes that outlived the app.
func (r *runner) endApp() {
	for begin := time.Now(); r.signalApp(unix.SIGKILL) > 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > endTimeout && r.spec.OwnPids {
			os.Exit(0)
		}
		// A killed process counts until it is waited for by its parent, which may be
		// this one.
		r.reapOthers()
	}
}

// reapOthers waits for ended processes that are not programs.
func (r *runner) reapOthers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[int]bool{}
	for _, pid := range r.programs {
		known[pid] = true
	}
	for _, child := range cell.Children(os.Getpid()) {
		if !known[child] {
			syscall.Wait4(child, nil, syscall.WNOHANG, nil)
		}
	}
}
