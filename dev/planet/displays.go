package planet

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// displaySockets is the folder of the sockets of X servers.
const displaySockets = "/tmp/.X11-unix"

// ownDisplays makes a mount namespace that differs from this one in one thing: it has a
// displaySockets of its own. An X server finds a free display number by an abstract
// socket. Each network namespace has its own abstract sockets, so the X servers of
// several sites would choose the same number and the same file.
//
// The namespace exists while the file is open or a process runs in it.
func ownDisplays() (*os.File, error) {
	type answer struct {
		file *os.File
		err  error
	}
	answers := make(chan answer)
	go func() {
		// Never unlocked: the thread has left the shared mount namespace, and ends
		// with the goroutine.
		runtime.LockOSThread()
		f, err := mountDisplays()
		answers <- answer{f, err}
	}()
	a := <-answers
	if a.err != nil {
		return nil, fmt.Errorf("make a site's own %s: %w", displaySockets, a.err)
	}
	return a.file, nil
}

func mountDisplays() (_ *os.File, err error) {
	const own = "/proc/thread-self/ns/mnt"
	home, err := os.Open(own)
	if err != nil {
		return nil, err
	}
	defer home.Close()
	if err := os.Mkdir(displaySockets, 0o777); err == nil {
		err = os.Chmod(displaySockets, 0o777|os.ModeSticky) // whatever the umask is
		if err != nil {
			return nil, err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	// The main thread does not end with its goroutine. If this is the main thread, it
	// must go back.
	defer func() { err = errors.Join(err, unix.Setns(int(home.Fd()), unix.CLONE_NEWNS)) }()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("displays", displaySockets, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=1m"); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	return os.Open(own)
}
