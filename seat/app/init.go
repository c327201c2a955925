package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// InitArg is the argument with which this executable is started again as the
// application's parent.
const InitArg = "app-init"

// runArg follows InitArg once the privileges are given up.
const runArg = "run"

// failedCode is the exit code of a parent process that started no application.
const failedCode = 125

// InitMain is the main function of the application's parent process. The main
// of every program that calls Start begins with
//
//	if len(os.Args) > 1 && os.Args[1] == app.InitArg {
//		app.InitMain() // does not return
//	}
//
// and so does the TestMain of its tests. The process runs in two steps. The
// first has the privileges of the stream host, makes the namespaces liveable
// and gives all privileges up; since Linux keeps them by thread, it does so on
// one thread and executes itself again from there, which ends every other.
// The second is a plain parent: it starts the application, reaps, passes
// signals on, and ends with it.
func InitMain() {
	runtime.LockOSThread() // for good: privileges and parent death signals are a thread's
	// Also what this process inherited by somebody's mistake is not passed on.
	if err := unix.CloseRange(controlFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.CloseOnExec(controlFD)
		unix.CloseOnExec(specFD)
	}
	control := os.NewFile(controlFD, "control")
	s, err := readSpec()
	if err == nil {
		if len(os.Args) > 2 && os.Args[2] == runArg {
			err = newParent(s, control).run()
		} else {
			err = enter(s)
		}
	}
	fail(control, err)
}

// fail reports why there is no application, and ends the process.
func fail(control *os.File, err error) {
	m := message{Event: eventFailed, Detail: err.Error()}
	var end wire.End
	if errors.As(err, &end) {
		m.Code, m.Detail = end.Code, end.Detail
	}
	json.NewEncoder(control).Encode(m)
	os.Exit(failedCode)
}

// enter is the first step. It returns only if it failed.
func enter(s spec) error {
	if s.Isolate {
		if err := makeView(s); err != nil {
			return err
		}
	}
	if s.Loopback {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := dropPrivileges(s); err != nil {
		return err
	}
	for _, fd := range []int{controlFD, specFD} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor: %w", err)
		}
	}
	err := syscall.Exec("/proc/self/exe", []string{os.Args[0], InitArg, runArg}, os.Environ())
	if errors.Is(err, syscall.EACCES) {
		return problem(wire.CodeConfig, fmt.Sprintf("user %s may not execute the stream host: make its file executable by all", s.Identity.label()))
	}
	return fmt.Errorf("execute itself: %w", err)
}

func (id identity) label() string {
	if id.Name != "" {
		return id.Name
	}
	return fmt.Sprint(id.UID)
}

// parent is the second step.
type parent struct {
	spec
	orders  *json.Decoder
	control *os.File

	mu  sync.Mutex // held to signal, and to reap: a pid is not reused in between
	pid int        // of the application's main process; 0 before and after
}

func newParent(s spec, control *os.File) *parent {
	return &parent{spec: s, control: control, orders: json.NewDecoder(control)}
}

// run starts the application and ends with it. It returns only if there is no
// application.
func (p *parent) run() error {
	// The application has the same user: it must not look into this process.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set undumpable: %w", err)
	}
	if !p.Isolate {
		// Orphans come to us; in a pid namespace they do anyway.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("become subreaper: %w", err)
		}
	}
	var m message
	if err := p.orders.Decode(&m); err != nil || m.Op != opStart {
		os.Exit(failedCode) // the stream host is gone
	}
	path, err := p.find()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)

	pid, err := syscall.ForkExec(path, append([]string{p.Command}, p.Args...), &syscall.ProcAttr{
		Dir: p.Dir, Env: p.Env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return cannotExecute(path, err)
	}
	p.pid = pid
	p.say(message{Event: eventStarted, PID: pid})

	go func() {
		for s := range signals {
			p.signal(s.(syscall.Signal), false)
		}
	}()
	go p.obey()

	status := p.reap()
	m = message{Event: eventExited, ExitCode: status.ExitStatus()}
	code := m.ExitCode
	if status.Signaled() {
		m.ExitCode, m.Signal = 0, int(status.Signal())
		code = 128 + m.Signal
	}
	p.endAll()
	p.say(m)
	os.Exit(code)
	return nil
}

func (p *parent) say(m message) { json.NewEncoder(p.control).Encode(m) }

// obey carries out orders until the stream host is gone, and then ends all.
func (p *parent) obey() {
	for {
		var m message
		if err := p.orders.Decode(&m); err != nil {
			p.everybody(unix.SIGKILL) // run goes on to the end from there
			return
		}
		var err error
		switch m.Op {
		case opSignal:
			err = p.signal(syscall.Signal(m.Signal), false)
		case opStop:
			err = p.signal(syscall.Signal(m.Signal), true)
		case opFreeze:
			p.everybody(unix.SIGSTOP)
		case opThaw:
			p.everybody(unix.SIGCONT)
		case opKill:
			p.everybody(unix.SIGKILL)
		default:
			err = fmt.Errorf("unknown order %q", m.Op)
		}
		reply := message{Event: eventReply, ID: m.ID}
		if err != nil {
			reply.Detail = err.Error()
		}
		p.say(reply)
	}
}

// signal sends to the application's main process, or to its process group.
func (p *parent) signal(s syscall.Signal, group bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return nil // it has ended; that is told elsewhere
	}
	target := p.pid
	if group {
		target = -p.pid
	}
	err := syscall.Kill(target, s)
	if group && errors.Is(err, syscall.ESRCH) {
		err = syscall.Kill(p.pid, s) // it has left its group
	}
	return err
}

// everybody sends to the application and all its descendants.
func (p *parent) everybody(s syscall.Signal) {
	if p.Isolate {
		syscall.Kill(-1, s) // all of the namespace but ourselves, in one go
		return
	}
	// One after the other, until a look finds nobody new: a process that was
	// forked meanwhile has not got the signal.
	seen := map[int]bool{}
	for found := true; found; {
		found = false
		for _, pid := range descendants(os.Getpid()) {
			if !seen[pid] {
				seen[pid], found = true, true
				syscall.Kill(pid, s)
			}
		}
	}
}

// reap collects the dead until the application's main process is one of them.
func (p *parent) reap() syscall.WaitStatus {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0 // ECHILD: cannot be while the application is not reaped
		}
		p.mu.Lock()
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if pid <= 0 {
				break
			}
			if pid == p.pid {
				p.pid = 0
				p.mu.Unlock()
				return status
			}
		}
		p.mu.Unlock()
	}
}

// endAll kills and reaps whoever outlived the application.
func (p *parent) endAll() {
	for {
		p.everybody(unix.SIGKILL)
		_, err := syscall.Wait4(-1, nil, 0, nil)
		if errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

// find resolves the command as the application's user in its view of the
// file system, and goes to the working directory.
func (p *parent) find() (string, error) {
	if err := os.Chdir(p.Dir); err != nil {
		return "", problem(wire.CodeConfig, p.whyNotEnter(err))
	}
	if strings.Contains(p.Command, "/") {
		path := p.Command
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
		return path, p.executable(path)
	}
	var denied error
	for _, dir := range append(filepath.SplitList(p.Path), p.Dir) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, p.Command)
		err := p.executable(path)
		if err == nil {
			return path, nil
		}
		if _, statErr := os.Stat(path); statErr == nil && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", problem(wire.CodeAppNotFound, fmt.Sprintf("command %q is neither in PATH (%s) nor in the task's directory", p.Command, p.Path))
}

// whyNotEnter says which directory keeps the user out, and what helps.
func (p *parent) whyNotEnter(err error) string {
	what := fmt.Sprintf("user %s cannot enter the working directory: %v", p.Identity.label(), err)
	closed, lookErr := outermostClosed(p.Dir + "/.")
	if lookErr != nil || closed == "" {
		return what
	}
	return what + fmt.Sprintf("; %s is closed to that user: let all enter it (chmod o+x), keep the agent's data_dir elsewhere, or isolate apps, for which it is no obstacle", closed)
}

func (p *parent) executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s does not exist", path))
	case err != nil:
		return problem(wire.CodeAppNotFound, fmt.Sprintf("user %s cannot reach the command: %v", p.Identity.label(), err))
	case info.IsDir():
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s is a directory", path))
	case unix.Access(path, unix.X_OK) != nil:
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s (%v) is not executable by user %s", path, info.Mode().Perm(), p.Identity.label()))
	}
	return nil
}

func cannotExecute(path string, err error) error {
	// What find let pass: no executable format, an interpreter that is missing.
	if slices.Contains([]error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ENOTDIR, syscall.ELIBBAD}, err) {
		return problem(wire.CodeAppNotFound, fmt.Sprintf("command %s cannot be executed (%v): is it built for this machine, and does its interpreter exist?", path, err))
	}
	return problem(wire.CodeConfig, fmt.Sprintf("execute %s: %v", path, err))
}
