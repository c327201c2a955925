package content

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the lock for uses and eviction. It is held for moments only.
func (c *cache) lock(ctx context.Context) (unlock func(), err error) {
	return flock(ctx, c.path("lock"), false, nil)
}

// lockKey takes the lock for the download of key. While another process has it,
// waiting is called from time to time.
func (c *cache) lockKey(ctx context.Context, key string, waiting func()) (unlock func(), err error) {
	return flock(ctx, c.path("locks", key), true, waiting)
}

// flock waits for an exclusive lock on path. With remove, unlock removes the file,
// and a process that waited for the removed file retries with a new one.
func flock(ctx context.Context, path string, remove bool, waiting func()) (func(), error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, storage("lock the cache", err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return func() {
				if remove {
					_ = os.Remove(path)
				}
				_ = f.Close()
			}, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, storage("lock the cache", err)
		}
		if waiting != nil {
			waiting()
		}
		// A blocking flock could not be cancelled when ctx ends.
		timer := time.NewTimer(30 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
