package content

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// aheadInFlight is how many requests a fetch ahead of a seat has in flight.
const aheadInFlight = 4

// Two bytes of the file of locks that are no key's (keyLocks.lock): seats share the first
// while they fetch, and one fetch ahead has the second.
const (
	seatsByte = 1 << 62
	aheadByte = seatsByte + 1
)

// errYield ends a download of a fetch ahead, because a seat fetches.
var errYield = errors.New("a seat fetches")

// share says that a seat fetches, until close.
func (l *keyLocks) share() error {
	// Nobody takes it for itself, so this does not wait.
	if err := l.set(unix.F_RDLCK, seatsByte); err != nil {
		return storage("lock the cache", err)
	}
	return nil
}

// seatFetches reports whether a seat of the node fetches.
func (l *keyLocks) seatFetches() (bool, error) {
	asked := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: seatsByte, Len: 1}
	if err := unix.FcntlFlock(l.file.Fd(), unix.F_OFD_GETLK, &asked); err != nil {
		return false, storage("lock the cache", err)
	}
	return asked.Type != unix.F_UNLCK, nil
}

// alone waits until this is the one fetch ahead of the node.
func (l *keyLocks) alone(ctx context.Context) error {
	for {
		err := l.set(unix.F_WRLCK, aheadByte)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return storage("lock the cache", err)
		}
		if err := lockAgain(ctx); err != nil {
			return err
		}
	}
}

// begin waits for the turn of a fetch ahead, and makes room for it. It returns what is
// missing then.
func (f *fetcher) begin(ctx context.Context, jobs []job) (missing []job, err error) {
	if err := f.locks.alone(ctx); err != nil {
		return nil, err
	}
	if err := f.cache.roomAhead(ctx, jobs); err != nil {
		return nil, err
	}
	_, missing, err = f.cache.divide(jobs)
	return missing, err
}

// quiet waits until no seat fetches, if this is a fetch ahead. The caller has no lock of a
// key: a seat may want that one.
func (f *fetcher) quiet(ctx context.Context) error {
	for f.ahead {
		busy, err := f.locks.seatFetches()
		if err != nil || !busy {
			return err
		}
		timer := time.NewTimer(100 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// yield ends a download of a fetch ahead where a seat fetches. The parts of a large one stay.
func (f *fetcher) yield() error {
	if !f.ahead {
		return nil
	}
	busy, err := f.locks.seatFetches()
	if err == nil && busy {
		err = errYield
	}
	return err
}

// roomAhead refuses a fetch ahead that would fill the cache, or that does not fit beside
// what seats use. Then it evicts for all of it: later nobody does, since it pins nothing.
// Where the cache has no limit, it may have half of what is free on the disk.
func (c *cache) roomAhead(ctx context.Context, jobs []job) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	used, err := c.used()
	if err != nil {
		return err
	}
	var wanted, missing, seats int64
	keys := make([]string, 0, len(jobs))
	for _, j := range jobs {
		wanted += j.size
		keys = append(keys, j.cacheKey)
		if _, ok := c.size(j.cacheKey); !ok {
			missing += j.size
			if info, err := os.Stat(c.path(downloads, j.cacheKey)); err == nil {
				missing -= min(j.size, info.Size()) // has its room already
			}
		}
		delete(used, j.cacheKey)
	}
	for _, size := range used {
		seats += size
	}
	if c.max == 0 {
		var s unix.Statfs_t
		if err := unix.Statfs(c.dir, &s); err != nil {
			return storage("look for free disk space", err)
		}
		if free := int64(s.Bavail) * s.Bsize; missing > free/2 {
			return failure(wire.CodeDiskFull, "%s of content are not on the node, and a fetch ahead of seats may have half of its free disk, which is %s; free space, or let the first seat fetch it", megabytes(missing), megabytes(free/2))
		}
		return nil
	}
	if wanted > c.max/2 || seats+wanted > c.max {
		return failure(wire.CodeDiskFull, "the content has %s; a fetch ahead of seats may have half of the cache, which is %s, and what running seats leave of it, which is %s; raise the cache's max_size, or let the first seat fetch it", megabytes(wanted), megabytes(c.max/2), megabytes(max(0, c.max-seats)))
	}
	c.touch(keys) // so that others are evicted
	_, err = c.evict(missing, 0)
	return err
}
