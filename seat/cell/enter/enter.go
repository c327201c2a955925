// Package enter runs a command beside the app, for "nomad alloc exec": in the cell of a
// seat, as the seat's user, and as confined as the app is. Otherwise the app, which has
// the same user, could use the command to leave its cell.
//
//	seat-keeper enter --target PID --user UID:GID --dir DIR --confined -- sh -c "…"
//
// PID is the cell's first process. The command gets the environment and the standard
// files of this process, and its exit status becomes this process's. With --confined it
// gets the cell's seccomp filter, with --i386 and --user-namespaces as the cell has them.
// With --held it waits for the driver (cell.Held).
// Landlock needs no rule for it: the app's own rules keep the app from tracing it.
package enter

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/privilege"
	"github.com/nearcast/nearcast/seat/cell/seccomp"
)

// Arg is the argument of seat-keeper.
const Arg = "enter"

// Exit statuses, as of env(1), where the command did not run.
const (
	failed    = 125
	notFound  = 127
	forbidden = 126
)

// namespaces in the order in which they are entered: the file system comes last, since
// the others are found in /proc.
var namespaces = []struct {
	name string
	flag int
}{
	{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET},
	{"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS},
}

// Run runs the command and returns the exit status.
func Run(args []string) int {
	code, err := run(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "seat-keeper enter:", err)
	}
	return code
}

func run(args []string) (code int, err error) {
	flags := flag.NewFlagSet("seat-keeper enter", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	target := flags.Int("target", 0, "")
	who := flags.String("user", "", "")
	dir := flags.String("dir", "/", "")
	var options seccomp.Options
	flags.BoolVar(&options.UserNamespaces, "user-namespaces", false, "")
	flags.BoolVar(&options.I386, "i386", false, "")
	confined := flags.Bool("confined", false, "")
	held := flags.Bool(cell.HeldArg, false, "")
	if err := flags.Parse(args); err != nil {
		return failed, err
	}
	if *target <= 0 || flags.NArg() == 0 {
		return failed, errors.New("give --target PID, --user UID:GID and a command")
	}
	user, err := unixuser.Lookup(*who)
	if err != nil {
		return failed, err
	}
	if *held { // until the driver has moved this process into the app's cgroups
		if err := cell.Held(); err != nil {
			return failed, err
		}
	}
	// Also descriptors that this process inherited by mistake are not passed on.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return failed, fmt.Errorf("close descriptors: %w", err)
	}
	runtime.LockOSThread() // and never unlock: this thread changes its namespaces
	if err := join(*target); err != nil {
		return failed, err
	}
	if err := privilege.NoNew(); err != nil {
		return failed, err
	}
	cmd := &exec.Cmd{
		Args: flags.Args(), Dir: *dir, Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		// Without Pdeathsig: Go takes a parent in another pid namespace for a dead one.
		SysProcAttr: &syscall.SysProcAttr{},
	}
	// Now: names are looked up in the cell.
	if cmd.Path, err = lookPath(flags.Arg(0), *dir); err != nil {
		return notFound, err
	}
	if os.Geteuid() == 0 {
		if err := privilege.Keep(); err != nil {
			return failed, err
		}
		groups := make([]uint32, len(user.Groups))
		for i, g := range user.Groups {
			groups[i] = uint32(g)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(user.UID), Gid: uint32(user.GID), Groups: groups}
	}
	if *confined && !cell.Without("seccomp") {
		if err := seccomp.Install(seccomp.Filter(options)); err != nil {
			return failed, err
		}
	}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	case errors.Is(err, os.ErrPermission):
		return forbidden, err
	}
	return notFound, err
}

// join enters the namespaces of a process that are not this one's, on this thread.
func join(pid int) error {
	// The file system belongs to all threads of a process until one lets go of it.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leave the file system: %w", err)
	}
	root, err := cell.OpenPath(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return fmt.Errorf("the seat has ended: %w", err)
	}
	defer root.Close()
	var open []*os.File
	var enter []int
	for _, ns := range namespaces {
		path := fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name)
		theirs, err := os.Readlink(path)
		if err != nil {
			return fmt.Errorf("the seat has ended: %w", err)
		}
		if ours, err := os.Readlink("/proc/self/ns/" + ns.name); err == nil && ours == theirs {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("the seat has ended: %w", err)
		}
		defer f.Close()
		open, enter = append(open, f), append(enter, ns.flag)
	}
	for i, f := range open {
		if err := unix.Setns(int(f.Fd()), enter[i]); err != nil {
			return fmt.Errorf("enter the cell: %w", err)
		}
	}
	if err := unix.Fchdir(int(root.Fd())); err != nil {
		return fmt.Errorf("enter the cell: %w", err)
	}
	return nil
}

// lookPath finds a program in PATH, or relative to dir.
func lookPath(name, dir string) (string, error) {
	if strings.Contains(name, "/") && !strings.HasPrefix(name, "/") {
		name = dir + "/" + name
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find the command: %w", err)
	}
	return path, nil
}
