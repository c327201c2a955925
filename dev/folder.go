package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Folder is the folder of a cluster or of a planet. One process at a time has it.
type Folder struct {
	Dir    string // absolute
	RunDir string // for Unix sockets; only this user may enter

	logger *slog.Logger
	unlock func()
	saving sync.Mutex
}

// ErrAlreadyRunning says that a cluster runs in the folder; its state is there.
var ErrAlreadyRunning = errors.New("a dev cluster already runs here")

// TakeFolder makes this process the only one that runs a cluster in dir. It ends
// what an earlier run left there. Release gives the folder back; the kernel does so
// too when this process dies.
func TakeFolder(ctx context.Context, dir string, logger *slog.Logger) (_ *Folder, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	f := &Folder{Dir: dir, RunDir: RunDir(dir), logger: logger}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	if f.unlock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err = makePrivate(f.RunDir); err != nil {
		err = fmt.Errorf("make the run directory: %w", err)
	} else if err = sweepAll(ctx, dir, f.RunDir, logger); err != nil {
		err = fmt.Errorf("end what an earlier run left: %w", err)
	}
	if err != nil {
		f.unlock()
		return nil, err
	}
	return f, nil
}

// Save writes the state file. A cluster whose state cannot be written still works:
// Down finds its processes by their mark.
func (f *Folder) Save(state func() State) {
	f.saving.Lock()
	defer f.saving.Unlock()
	s := state()
	s.PID, s.Dir, s.RunDir = os.Getpid(), f.Dir, f.RunDir
	s.Started, _ = startTicks(s.PID)
	if err := writeState(s); err != nil {
		f.logger.Warn("cannot write the state file", "error", err)
	}
}

// Release ends what still runs of the cluster, removes its state and gives the
// folder back. Data and logs stay.
func (f *Folder) Release(ctx context.Context) error {
	defer f.unlock()
	if err := sweepAll(ctx, f.Dir, f.RunDir, f.logger); err != nil {
		return err
	}
	return removeState(f.Dir, f.RunDir)
}

// removeState removes what a stopped cluster does not need.
func removeState(dir, runDir string) error {
	return errors.Join(os.RemoveAll(filepath.Join(dir, stateFile)), os.RemoveAll(runDir))
}

// lockDir locks dir for this process, or fails with ErrAlreadyRunning.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrAlreadyRunning
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// RunDir is where the driver and a planet keep their sockets: a folder in the cluster's
// folder, or, where the path of a socket would be too long (107 bytes at most), a short
// path derived from it.
func RunDir(dir string) string {
	if in := filepath.Join(dir, "run"); len(in) <= 64 {
		return in
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join("/tmp", "nearcast-"+hex.EncodeToString(sum[:6]))
}

// makePrivate makes a folder that only this user may enter. It refuses one that
// another user made: below /tmp anybody can.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user; remove it", dir)
	}
	return os.Chmod(dir, 0o700)
}

// The folder of a planet holds the folders of its sites, and the files that its
// network namespaces are mounted on.
func sitesDir(dir string) string { return filepath.Join(dir, "sites") }
func netnsDir(dir string) string { return filepath.Join(dir, "netns") }

// SiteDir is the folder of a site of the planet in dir.
func SiteDir(dir, site string) string { return filepath.Join(sitesDir(dir), site) }

// Namespace is the file of a network namespace of the planet in dir: a site's or
// the person's. nsenter --net=FILE runs a command in it.
func Namespace(dir, name string) string { return filepath.Join(netnsDir(dir), name) }
