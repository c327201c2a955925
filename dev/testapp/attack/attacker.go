package attack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// attacker is one attack on its way: what it was told, and what it found out.
type attacker struct {
	Args
	app int // pid of the app, of which this process is a child

	got, refused, missing []string
}

func newAttacker(args Args) *attacker {
	app, _ := strconv.Atoi(os.Getenv(childEnv))
	if app == 0 {
		app = os.Getpid()
	}
	return &attacker{Args: args, app: app}
}

// succeed notes what an attack got.
func (a *attacker) succeed(format string, args ...any) {
	a.got = append(a.got, fmt.Sprintf(format, args...))
}

// refuse notes what stopped an attempt.
func (a *attacker) refuse(what string, err error) {
	if errno := unix.Errno(0); errors.As(err, &errno) {
		a.refused = append(a.refused, fmt.Sprintf("%s: %s", what, unix.ErrnoName(errno)))
		return
	}
	a.refused = append(a.refused, fmt.Sprintf("%s: %v", what, err))
}

// lack notes that there was nothing to try.
func (a *attacker) lack(format string, args ...any) {
	a.missing = append(a.missing, fmt.Sprintf(format, args...))
}

// try notes how an attempt went.
func (a *attacker) try(what string, err error) {
	if err != nil {
		a.refuse(what, err)
	} else {
		a.succeed("%s", what)
	}
}

// result is the outcome of all attempts: one that succeeds is enough for an attacker.
func (a *attacker) result() Result {
	switch {
	case len(a.got) > 0:
		return Result{Outcome: Succeeded, Detail: short(a.got)}
	case len(a.refused) > 0:
		return Result{Outcome: Refused, Detail: short(a.refused)}
	case len(a.missing) > 0:
		return Result{Outcome: Unavailable, Detail: short(a.missing)}
	}
	return Result{Outcome: Unavailable, Detail: "no target was given"}
}

// short joins what is worth reading.
func short(all []string) string { return join(all, 6, 600) }

// shortAll joins what somebody will look for.
func shortAll(all []string) string { return join(all, 1000, 10_000) }

func join(all []string, most, bytes int) string {
	seen := map[string]bool{}
	var out []string
	for _, s := range all {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	more := ""
	if len(out) > most {
		more = fmt.Sprintf(" (and %d more)", len(out)-most)
		out = out[:most]
	}
	text := strings.Join(out, "; ")
	if len(text) > bytes {
		text = strings.ToValidUTF8(text[:bytes], "") + "…"
	}
	return text + more
}

// secret is whichever secret a text has in it; empty if none.
func (a *attacker) secret(text string) string {
	for name, canary := range map[string]string{"the other seat's secret": a.Canary, "the node's secret": a.NodeCanary} {
		if canary != "" && strings.Contains(text, canary) {
			return name
		}
	}
	return ""
}

// process is a line of /proc.
type process struct {
	pid, parent int
	start       uint64
	comm        string
}

var errNotVisible = errors.New("not visible")

func readProcess(pid int) (process, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	text := string(raw)
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || shut < open {
		return process{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	fields := strings.Fields(text[shut+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	p := process{pid: pid, comm: text[open+1 : shut]}
	p.parent, _ = strconv.Atoi(fields[1])
	p.start, err = strconv.ParseUint(fields[19], 10, 64)
	return p, err
}

// Describe is the name of a process for Args.
func Describe(role string, pid int) (Process, error) {
	p, err := readProcess(pid)
	return Process{Role: role, PID: pid, Start: p.start, Comm: p.comm}, err
}

func processes() (all []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// own are the processes that this seat may do to as it likes: the app with all that it
// started, its X server and its sound server.
func (a *attacker) own() map[int]bool {
	own := map[int]bool{a.app: true, os.Getpid(): true}
	for _, server := range []string{displaySocket(os.Getenv("DISPLAY")), soundSocket()} {
		if pid := serverOf(server); pid > 0 {
			own[pid] = true
		}
	}
	all := processes()
	for more := true; more; {
		more = false
		for _, p := range all {
			if own[p.parent] && !own[p.pid] {
				own[p.pid], more = true, true
			}
		}
	}
	return own
}

// keeper is the process that started the app: process 1 of its namespace, where it has
// one.
func (a *attacker) keeper() int {
	p, err := readProcess(a.app)
	if err != nil {
		return 1
	}
	return p.parent
}

// visible checks that the target's number means the target here.
func (t Process) visible() error {
	p, err := readProcess(t.PID)
	if err == nil && p.start == t.Start && p.comm == t.Comm {
		return nil
	}
	return errNotVisible
}

// displaySocket is the path of a display's socket.
func displaySocket(display string) string {
	_, number, _ := strings.Cut(display, ":")
	number, _, _ = strings.Cut(number, ".")
	if number == "" {
		return ""
	}
	return "/tmp/.X11-unix/X" + number
}

func soundSocket() string {
	return strings.TrimPrefix(os.Getenv("PULSE_SERVER"), "unix:")
}

// serverOf is the process that listens on a Unix socket, as far as it is in this
// process's namespace.
func serverOf(socket string) int {
	if socket == "" {
		return 0
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0
	}
	defer conn.Close()
	cred, err := peer(conn)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

func peer(conn net.Conn) (cred *unix.Ucred, err error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(cerr, err)
}
