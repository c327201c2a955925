package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/privilege"
	"github.com/nearcast/nearcast/seat/display/x11"
	"github.com/nearcast/nearcast/seat/display/xserver"
)

// displayTimeout bounds the start of Xorg. GPU drivers may take seconds to load.
const displayTimeout = 30 * time.Second

// chooseDisplay finds out whether the keeper must start the display server: Xorg, which
// runs as root because GPU and console belong to root.
func (k *keeper) chooseDisplay() (wire.XServer, error) {
	want := k.spec.XServer
	if cell.Without("x-server") { // on the node, as on those with a GPU
		want = wire.XServer{Server: wire.ServerXorg, Driver: "dummy"}
	}
	chosen, err := xserver.Choose(want)
	if err != nil {
		return chosen, failed(wire.CodeDisplay, "%w", err)
	}
	return chosen, nil
}

// displayDir is where Xorg makes the socket that the cell shows.
func (k *keeper) displayDir() string { return filepath.Join(k.spec.RunDir, "display") }

func (k *keeper) makeDisplayDir() error {
	if err := os.Mkdir(k.displayDir(), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the display's directory: %w", err)
	}
	return os.Chmod(k.displayDir(), 0o1777) // X servers expect that mode
}

// startXorg starts Xorg for the cell whose first process is init.
func (k *keeper) startXorg(chosen wire.XServer, init int) (*cell.MadeDisplay, error) {
	ctx, cancel := context.WithTimeout(context.Background(), displayTimeout)
	defer cancel()
	cookie := x11.NewCookie()
	var runner cell.Runner = cell.Local{Dir: k.spec.RunDir}
	if k.spec.Isolate {
		if err := xserver.MakeSocketDir(); err != nil { // to mount the cell's on it
			return nil, err
		}
		runner = xorgRunner{init: init, displays: k.displayDir()}
	}
	s, err := xserver.Start(ctx, xserver.Config{
		Width: k.spec.Display.Width, Height: k.spec.Display.Height, Server: chosen, Cookie: cookie,
		Runner: runner, Dir: k.spec.RunDir, Log: k.log,
	})
	if err != nil {
		return nil, failed(wire.CodeDisplay, "%w", err)
	}
	k.display = s
	if err := k.place(s.PID()); err != nil {
		return nil, err
	}
	go func() {
		<-s.Done()
		if err := s.Err(); err != nil { // nil after Close
			k.conn.Send(cell.Notice{Display: err.Error()})
		}
	}()
	return &cell.MadeDisplay{Name: s.Name(), Number: s.Number(), Cookie: cookie, PID: s.PID()}, nil
}

// xorgCapabilities are what Xorg and the drivers of GPUs need of root: the devices, the
// console, and the memory that programs of the cell share with the display.
var xorgCapabilities = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_KILL, unix.CAP_IPC_OWNER,
	unix.CAP_SYS_ADMIN, unix.CAP_SYS_RAWIO, unix.CAP_SYS_TTY_CONFIG, unix.CAP_SYS_NICE,
}

// xorgRunner starts Xorg beside a cell: with the cell's memory segments and network, but
// with the node's files, except that it makes its socket in displays.
type xorgRunner struct {
	init     int
	displays string
}

func (r xorgRunner) Start(_ context.Context, p cell.Program, files ...*os.File) (*cell.Process, error) {
	cmd := &exec.Cmd{Path: p.Path, Args: p.Args, Env: append(nonce(os.Environ()), p.Env...), Dir: p.Dir,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}}
	if len(files) < 3 {
		return nil, errors.New("start Xorg: the standard files are missing")
	}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = files[1], files[2], files[3:]
	c, err := start(cmd, r.join)
	if err != nil {
		return nil, err
	}
	process, end := cell.NewProcess(c.pid, func(sig int, group bool) error {
		c.signal(syscall.Signal(sig))
		return nil
	})
	go func() {
		<-c.done
		end(c.result(cmd))
	}()
	return process, nil
}

// join changes the thread that starts Xorg.
func (r xorgRunner) join() error {
	for name, flag := range map[string]int{"ipc": unix.CLONE_NEWIPC, "net": unix.CLONE_NEWNET} {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", r.init, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the cell: %w", err)
		}
		err = unix.Setns(fd, flag)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("join the cell: %w", err)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(r.displays, x11.SocketDir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the display's directory: %w", err)
	}
	if err := privilege.NoNew(); err != nil {
		return err
	}
	return privilege.Keep(xorgCapabilities...)
}

// DisplayNumber is a cell.Runner's, and so are the others.
func (xorgRunner) DisplayNumber() int { return 0 }
func (xorgRunner) Runtime() string    { return "" }

func (xorgRunner) WriteFile(string, []byte) error { return errors.ErrUnsupported }

func (xorgRunner) Dial(string) (*net.UnixConn, error) { return nil, errors.ErrUnsupported }

func (xorgRunner) Remove(string) error { return errors.ErrUnsupported }

func (xorgRunner) Open(string) (*os.File, error) { return nil, errors.ErrUnsupported }
