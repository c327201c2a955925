package driver

import (
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"
	"github.com/hashicorp/nomad/plugins/drivers/proto"
	"golang.org/x/sys/unix"
)

func (s *execStream) terminal() error {
	ptmx, tty, err := openTerminal()
	if err != nil {
		return err
	}
	defer ptmx.Close()
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = tty, tty, tty
	s.cmd.SysProcAttr.Setctty = true
	// The command's user must be able to open the terminal.
	if cred := s.cmd.SysProcAttr.Credential; cred != nil {
		tty.Chown(int(cred.Uid), int(cred.Gid))
	}
	err = s.start()
	tty.Close()
	if err != nil {
		return err
	}
	go s.input(ptmx, ptmx)
	exited, copied := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(copied)
		s.output(ptmx, exited)
	}()
	err = s.cmd.Wait()
	close(exited)
	ptmx.SetReadDeadline(time.Now().Add(quiet))
	<-copied
	if err := s.send(&drivers.ExecTaskStreamingResponseMsg{Stdout: &proto.ExecTaskStreamingIOOperation{Close: true}}); err != nil {
		return err
	}
	return s.ended(err)
}

// quiet is how long a terminal must be silent, after the command ended, before its
// output counts as complete. Processes in the background keep the terminal open,
// but do not extend the call.
const quiet = 100 * time.Millisecond

// output passes on what the terminal shows. It returns when the last process has
// closed the terminal (EIO), or when it is quiet after the command ended.
func (s *execStream) output(terminal *os.File, exited <-chan struct{}) {
	buf := make([]byte, 8<<10)
	for {
		n, err := terminal.Read(buf)
		if n > 0 {
			m := &drivers.ExecTaskStreamingResponseMsg{Stdout: &proto.ExecTaskStreamingIOOperation{Data: buf[:n]}}
			if s.send(m) != nil {
				return
			}
		}
		if err != nil {
			return
		}
		select {
		case <-exited:
			terminal.SetReadDeadline(time.Now().Add(quiet))
		default:
		}
	}
}

// openTerminal makes a pseudo-terminal whose near end (ptmx) accepts read deadlines.
// creack/pty sets that end to blocking mode, in which they have no effect.
func openTerminal() (ptmx, tty *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	ptmx = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		ptmx.Close()
		return nil, nil, fmt.Errorf("open terminal: %w", err)
	}
	return ptmx, tty, nil
}

func resize(terminal *os.File, rows, columns int32) {
	conn, err := terminal.SyscallConn()
	if err != nil {
		return
	}
	conn.Control(func(fd uintptr) {
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	})
}
