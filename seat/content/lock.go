package content

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the lock for uses and eviction. It is held for moments only.
func (c *cache) lock(ctx context.Context) (unlock func(), err error) {
	return flock(ctx, c.path("lock"))
}

// keyLocks is one file for the locks of all downloads: a byte for each, at a place that its
// key gives. A file for each takes as long to make as to fetch what is small. It is the
// same lock for each size: two that want one key may disagree about its size.
type keyLocks struct {
	file *os.File
}

func (c *cache) openKeyLocks() (*keyLocks, error) {
	f, err := os.OpenFile(c.path("locks", "downloads"), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, storage("lock the cache", err)
	}
	return &keyLocks{f}, nil
}

// close gives up all locks.
func (l *keyLocks) close() error { return l.file.Close() }

// lock takes the lock for the download of key. While another has it, waiting is called from
// time to time. Locks of one keyLocks do not exclude each other: a fetch has each key once.
func (l *keyLocks) lock(ctx context.Context, key string, waiting func()) (unlock func(), err error) {
	sum := sha256.Sum256([]byte(key))
	at := int64(binary.BigEndian.Uint64(sum[:8]) >> 2)
	for {
		err := l.set(unix.F_WRLCK, at)
		if err == nil {
			return func() { _ = l.set(unix.F_UNLCK, at) }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, storage("lock the cache", err)
		}
		if waiting != nil {
			waiting()
		}
		if err := lockAgain(ctx); err != nil {
			return nil, err
		}
	}
}

// set changes the lock of a byte, and does not wait.
func (l *keyLocks) set(kind int16, at int64) error {
	return unix.FcntlFlock(l.file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1})
}

// lockAgain waits until a lock is tried again: a blocking call could not be cancelled.
func lockAgain(ctx context.Context) error {
	timer := time.NewTimer(30 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// flock waits for an exclusive lock on path.
func flock(ctx context.Context, path string) (func(), error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, storage("lock the cache", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return func() { _ = f.Close() }, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, storage("lock the cache", err)
		}
		if err := lockAgain(ctx); err != nil {
			return nil, err
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
