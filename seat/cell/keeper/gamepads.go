package keeper

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// addGamepads gives a cell what its programs need to see gamepads, where the job has them.
func (k *keeper) addGamepads(root *cellroot.Root, made *cellResult) error {
	if !k.spec.Display.Gamepads {
		return nil
	}
	if k.spec.Cell.Uinput {
		err := k.makeGamepads()
		if err == nil {
			return k.serveGamepads(root, made)
		}
		k.log.Warn("the kernel makes no gamepads; the library shows them", "error", err)
	}
	path := filepath.Join(filepath.Dir(k.spec.StreamHost), wire.GamepadLibrary)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0 {
		k.log.Warn("the seat has no gamepads: the library is missing, or not all users can read it", "file", path, "error", err)
		return nil
	}
	root.Gamepads, made.Gamepads = path, cellroot.GamepadLibrary
	return nil
}

// makeGamepads makes all gamepads of the seat, or none.
func (k *keeper) makeGamepads() error {
	for i := range wire.MaxPads {
		d, err := k.makePad(i)
		if err != nil {
			for _, d := range k.pads {
				d.Close()
			}
			k.pads = nil
			return err
		}
		k.pads = append(k.pads, d)
	}
	return nil
}

// serveGamepads passes on events between the gamepads and the stream host.
func (k *keeper) serveGamepads(root *cellroot.Root, made *cellResult) error {
	for i, d := range k.pads {
		ours, theirs, err := connection()
		if err != nil {
			return err
		}
		root.GamepadNumbers = append(root.GamepadNumbers, d.Number)
		made.GamepadFiles = append(made.GamepadFiles, cellroot.GamepadFile(i))
		made.gamepads = append(made.gamepads, theirs)
		go d.Serve(ours) // until endCell closes the device, or the stream host ends
	}
	return nil
}

// connection is one with the stream host, for the events of a gamepad.
func connection() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make connection: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "gamepad")
	f := os.NewFile(uintptr(fds[0]), "gamepad")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("use connection: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}
