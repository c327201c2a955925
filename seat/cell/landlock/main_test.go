package landlock

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

const (
	// underArg makes this executable put itself under rules, and execute itself.
	underArg = "under-rules"
	// probeArg makes it try what it reads, and answer.
	probeArg = "probe"
	// quietArg makes it end well.
	quietArg = "quiet"
)

// attempt is one thing that a process tries.
type attempt struct {
	Do   string
	Path string // or name
	To   string `json:",omitempty"`
	PID  int    `json:",omitempty"`
}

func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		goleak.VerifyTestMain(m)
	}
	switch os.Args[1] {
	case underArg:
		fmt.Fprintln(os.Stderr, enter(os.Args[2]))
		os.Exit(125)
	case probeArg:
		if err := probe(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case quietArg:
	default:
		goleak.VerifyTestMain(m)
	}
}

func enter(rules string) error {
	runtime.LockOSThread()
	var r *Rules
	if err := json.Unmarshal([]byte(rules), &r); err != nil {
		return err
	}
	if r != nil {
		abi, err := Restrict(*r)
		if err != nil {
			return err
		}
		if abi != Version() {
			return fmt.Errorf("Restrict returned version %d, the kernel has %d", abi, Version())
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, []string{self, probeArg}, os.Environ())
}

func probe() error {
	var attempts []attempt
	if err := json.NewDecoder(os.Stdin).Decode(&attempts); err != nil {
		return err
	}
	var answers []string
	for _, a := range attempts {
		answer := ""
		if err := a.do(); err != nil {
			answer = err.Error()
			var e syscall.Errno
			if errors.As(err, &e) {
				answer = unix.ErrnoName(e)
			}
		}
		answers = append(answers, answer)
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

func (a attempt) do() error {
	open := func(flags int) error {
		f, err := os.OpenFile(a.Path, flags, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	}
	switch a.Do {
	case "read":
		return open(os.O_RDONLY)
	case "list":
		_, err := os.ReadDir(a.Path)
		return err
	case "write":
		return open(os.O_WRONLY)
	case "create":
		return open(os.O_WRONLY | os.O_CREATE | os.O_EXCL)
	case "truncate":
		return os.Truncate(a.Path, 0)
	case "mkdir":
		return os.Mkdir(a.Path, 0o700)
	case "remove":
		return os.Remove(a.Path)
	case "rename":
		return os.Rename(a.Path, a.To)
	case "fifo":
		return unix.Mkfifo(a.Path, 0o600)
	case "bind": // a socket that is a file
		l, err := net.Listen("unix", a.Path)
		if err != nil {
			return err
		}
		return l.Close()
	case "connect":
		conn, err := net.Dial("unix", a.Path)
		if err != nil {
			return err
		}
		return conn.Close()
	case "connect to itself":
		l, err := net.Listen("unix", a.Path)
		if err != nil {
			return err
		}
		defer l.Close()
		return attempt{Do: "connect", Path: a.Path}.do()
	case "execute":
		cmd := exec.Command(a.Path, a.To)
		return cmd.Run()
	case "signal":
		return syscall.Kill(a.PID, 0)
	case "signal a child":
		cmd := exec.Command("/proc/self/exe", probeArg) // which waits for what it should try
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		defer in.Close()
		if err := cmd.Start(); err != nil {
			return err
		}
		defer cmd.Wait()
		return cmd.Process.Kill()
	case "ioctl":
		f, err := os.OpenFile(a.Path, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		return err
	case "mount":
		return unix.Mount("none", a.Path, "tmpfs", 0, "")
	case "tcp":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return fmt.Errorf("what is %q?", a.Do)
}

// try makes the attempts under rules, or without any, and returns the name of the
// error of each.
func try(t *testing.T, rules *Rules, attempts []attempt) []string {
	t.Helper()
	settings, err := json.Marshal(rules)
	testkit.Must(t, err)
	self, err := os.Executable()
	testkit.Must(t, err)
	cmd := exec.CommandContext(t.Context(), self, underArg, string(settings))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS, // for the attempt to mount
	}
	in, err := cmd.StdinPipe()
	testkit.Must(t, err)
	out, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	testkit.Must(t, json.NewEncoder(in).Encode(attempts))
	in.Close()
	var answers []string
	decodeErr := json.NewDecoder(out).Decode(&answers)
	testkit.Must(t, cmd.Wait())
	testkit.Must(t, decodeErr)
	if len(answers) != len(attempts) {
		t.Fatalf("%d answers to %d attempts", len(answers), len(attempts))
	}
	return answers
}

// place is a directory for attempts, with what they need, made anew for each run.
func place(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	testkit.Must(t, err)
	for _, name := range []string{"mine/a", "mine/b", "other/a"} {
		testkit.Must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	for _, name := range []string{"mine/file", "mine/a/moves", "mine/gone", "other/file", "other/gone", "other/a/moves"} {
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644))
	}
	return dir
}
