package attack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// leaveBehind leaves all that could stay when the seat ends: for the next owner of the
// user to find, or to go on working. All names have the tag in them; what has only a
// number is in the detail.
func leaveBehind(_ ctx, a *attacker) Result {
	var left []string
	leave := func(what string, err error) {
		if err != nil {
			a.refuse(what, err)
		} else {
			left = append(left, what)
		}
	}
	name := a.Tag + "-left"

	// A process that no group, terminal, signal, parent or variable ties to the seat.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	for range 2 {
		stays := &exec.Cmd{Path: "/bin/sleep", Args: []string{name, "100000"}, Env: []string{}, Dir: "/",
			SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
		err := stays.Start()
		leave("process", err)
	}

	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o666)
	leave(fmt.Sprintf("shm=%d", id), err)
	for what, number := range map[string]uintptr{"msg": unix.SYS_MSGGET, "sem": unix.SYS_SEMGET} {
		arg := uintptr(unix.IPC_CREAT | 0o666)
		var id uintptr
		var errno unix.Errno
		if what == "msg" {
			id, _, errno = unix.Syscall(number, unix.IPC_PRIVATE, arg, 0)
		} else {
			id, _, errno = unix.Syscall(number, unix.IPC_PRIVATE, 1, arg)
		}
		err = nil
		if errno != 0 {
			err = errno
		}
		leave(fmt.Sprintf("%s=%d", what, id), err)
	}
	q, err := openQueue("/"+name, unix.O_CREAT|unix.O_RDWR)
	if err == nil {
		unix.Close(q)
	}
	leave("mqueue", err)
	key, err := unix.AddKey("user", name, []byte(name), unix.KEY_SPEC_USER_KEYRING)
	leave(fmt.Sprintf("key=%d", key), err)

	cwd, _ := os.Getwd()
	for _, dir := range []string{
		"/tmp", "/var/tmp", "/dev/shm", "/run", "/run/lock", "/var/lock", "/var/spool/cron/crontabs", "/etc/cron.d",
		"/var/spool/at", "/etc/profile.d", "/var/crash", "/var/cache", "/var/lib", "/usr/local/bin", "/etc/ld.so.conf.d",
		home(), filepath.Join(home(), ".config", "autostart"), cwd, allocDir(), filepath.Join(allocDir(), "data"),
	} {
		if !filepath.IsAbs(dir) {
			continue // it is not known
		}
		_ = os.Mkdir(dir, 0o700)
		leave(filepath.Join(dir, name), os.WriteFile(filepath.Join(dir, name), []byte("* * * * * root /bin/true\n"), 0o666))
	}
	closed := filepath.Join("/tmp", name+"-closed")
	err = os.MkdirAll(filepath.Join(closed, "in"), 0o700)
	leave(closed, errors.Join(err, os.Chmod(closed, 0)))
	leave("deep directory", makeDeep(cwd, 60))
	for _, socket := range []string{"/tmp/" + name + ".sock", filepath.Join(cwd, name+".sock")} {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err == nil {
			listener.SetUnlinkOnClose(false)
		}
		leave(socket, err)
	}
	if len(left) == 0 {
		return a.result()
	}
	return Result{Outcome: Planted, Detail: shortAll(left)}
}
