package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/app"
)

// seatDir is the directory for sockets and secrets of display, sound and app. It
// is made before the display starts and removed after the display has closed.
type seatDir struct {
	path    string
	cred    *syscall.Credential
	symlink string // wire.ScratchLink, to path; empty if Nomad removes path
}

// newSeatDir makes a directory below the task directory, so that Nomad removes it
// even if this process is killed. Its name is random, since the app may be able
// to write to the task directory. Display and sound run as the app's user, but
// outside the app's mount namespace. If that user cannot reach the task
// directory, the directory is below the one for temporary files, and a link in
// the run directory points to it.
func newSeatDir(spec wire.Spec) (seatDir, error) {
	cred, err := credential(spec.User)
	if err != nil {
		return seatDir{}, err
	}
	base := spec.TaskDir
	reached, err := app.CanAccess(spec.User, base)
	if err != nil {
		return seatDir{}, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: err.Error()}
	}
	if !reached || len(base) > maxBase {
		base = os.TempDir()
	}
	path, err := os.MkdirTemp(base, ".nearcast-")
	if err != nil {
		return seatDir{}, fmt.Errorf("make the seat's directory: %w", err)
	}
	d := seatDir{path: path, cred: cred}
	if base != spec.TaskDir {
		d.symlink = filepath.Join(spec.RunDir, wire.ScratchLink)
		if err := os.Symlink(path, d.symlink); err != nil {
			return seatDir{}, errors.Join(fmt.Errorf("link to the seat's directory: %w", err), d.Close())
		}
	}
	if err := errors.Join(os.Chmod(path, 0o711), d.own("x"), d.own("home")); err != nil {
		return seatDir{}, errors.Join(fmt.Errorf("make the seat's directory: %w", err), d.Close())
	}
	return d, nil
}

// maxBase leaves room for the path of a Unix socket below. The kernel limits it to
// 107 bytes.
const maxBase = 72

func (d seatDir) sub(name string) string { return filepath.Join(d.path, name) }

// own makes a subdirectory that only the app's user can enter.
func (d seatDir) own(name string) error {
	if err := os.Mkdir(d.sub(name), 0o700); err != nil {
		return err
	}
	if d.cred == nil {
		return nil
	}
	return os.Lchown(d.sub(name), int(d.cred.Uid), int(d.cred.Gid))
}

func (d seatDir) Close() error {
	err := os.RemoveAll(d.path)
	if d.symlink != "" && err == nil {
		err = os.Remove(d.symlink)
	}
	return err
}

// credential is the app's user. Nil is this process's own.
func credential(text string) (*syscall.Credential, error) {
	u, err := unixuser.Lookup(text)
	if err != nil {
		return nil, wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: err.Error()}
	}
	if u.UID == os.Geteuid() {
		return nil, nil
	}
	return &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}, nil
}
