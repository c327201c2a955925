package seccomp

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// underArg makes this executable put itself under a filter and execute another
// program: underArg, its settings, the program with its arguments.
const underArg = "under-a-filter"

// namespaceArg is underArg for the first process of a pid namespace. It starts the
// program and waits for all processes, as the first process of a cell does.
const namespaceArg = "first-in-a-namespace"

// listenArg makes this executable listen, and connect to itself.
const listenArg = "listen"

// under are the settings.
type under struct {
	Options Options
	Without bool // the filter; for the counter-proof
	UID     int  // 0 stays root
	Groups  []int
}

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == underArg {
		fmt.Fprintln(os.Stderr, enter(os.Args[2], os.Args[3:]))
		os.Exit(125)
	}
	if len(os.Args) > 3 && os.Args[1] == namespaceArg {
		code, err := first()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(125)
		}
		os.Exit(code)
	}
	if len(os.Args) == 2 && os.Args[1] == listenArg {
		if err := listen(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// first ends with the program, and the namespace with it.
func first() (code int, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	program, err := os.StartProcess(self, append([]string{self, underArg}, os.Args[2:]...), &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && err != syscall.EINTR {
			return 0, err
		}
		if pid == program.Pid {
			return status.ExitStatus(), nil
		}
	}
}

func listen() error {
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

// enter does what the first process of a cell does, in its order.
func enter(settings string, argv []string) error {
	runtime.LockOSThread()
	var u under
	if err := json.Unmarshal([]byte(settings), &u); err != nil {
		return err
	}
	if u.UID != 0 {
		if err := syscall.Setgroups(u.Groups); err != nil {
			return err
		}
		if err := syscall.Setresgid(u.UID, u.UID, u.UID); err != nil {
			return err
		}
		if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	if !u.Without {
		if err := Install(Filter(u.Options)); err != nil {
			return err
		}
	} else if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// command is a program with these settings. It ends with the test at the latest.
func (u under) command(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	settings, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{underArg, string(settings)}, argv...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// inNamespace is command in a pid namespace of its own, so that all that the program
// starts ends.
func (u under) inNamespace(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := u.command(t, argv...)
	cmd.Args[1] = namespaceArg
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
	return cmd
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: others are refused most of these calls anyway")
	}
}
