package content

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// A commit is due when so many objects or bytes arrived, or so long after the first.
// Each waits with the lock of its key.
const (
	commitObjects = 1000
	commitBytes   = 256 << 20
	commitAfter   = time.Second
)

// arrival is an object that is downloaded and verified, in downloads/.
type arrival struct {
	job      job
	verified identity
	unlock   func()
}

// unverified is the mode of a file whose bytes are not verified yet.
const unverified = 0o600

// identity is which file was verified. An inode that is used again has another mode until
// its bytes are verified too.
type identity struct {
	dev, inode uint64
	size       int64
	mode       uint32
}

func identityOf(s unix.Stat_t) identity {
	return identity{dev: uint64(s.Dev), inode: s.Ino, size: s.Size, mode: s.Mode}
}

// finish gives a file that was verified its mode, and says which file it is.
func finish(data *os.File, f file) (identity, error) {
	if err := data.Chmod(f.mode()); err != nil { // regardless of the umask
		return identity{}, storage("keep content", err)
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(data.Fd()), &s); err != nil {
		return identity{}, storage("keep content", err)
	}
	return identityOf(s), nil
}

// keepVerified moves a download to objects/. The lock of its key keeps others away from it.
// Should one ignore the lock, no byte that was not verified gets into objects/.
func (c *cache) keepVerified(key string, verified identity) error {
	path := c.path(downloads, key)
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return storage("keep content", err)
	}
	if identityOf(s) != verified {
		return failure(wire.CodeContentStore, "the download %s was replaced by another program before it was kept; let only Nearcast write in the cache, and start the seat again", path)
	}
	if err := os.Rename(path, c.path("objects", key)); err != nil {
		return storage("keep content", err)
	}
	return nil
}

// committer moves arrivals to objects/, many at once: one sync of the file system then
// makes all of them durable. To sync each small file takes longer than to fetch it.
type committer struct {
	cache *cache
	// dir was opened before anything was written: so syncfs tells of all faults.
	dir    *os.File
	placed func(batch []job) error

	mu      sync.Mutex
	waiting []arrival
	bytes   int64
	err     error

	due  chan struct{}
	room chan struct{} // closed and replaced when arrivals were taken
	done chan struct{}
	once sync.Once
	quit chan struct{}
}

// newCommitter starts to commit. placed is called with what is in the cache now, by one
// goroutine. failed is called once if a commit fails.
func newCommitter(c *cache, placed func([]job) error, failed func(error)) (*committer, error) {
	dir, err := os.Open(c.path(downloads))
	if err != nil {
		return nil, storage("open the cache", err)
	}
	k := &committer{
		cache: c, dir: dir, placed: placed,
		due: make(chan struct{}, 1), room: make(chan struct{}), done: make(chan struct{}), quit: make(chan struct{}),
	}
	go k.run(failed)
	return k, nil
}

// add hands an arrival over, with the lock of its key.
func (k *committer) add(ctx context.Context, a arrival) error {
	for {
		k.mu.Lock()
		if k.err != nil {
			defer k.mu.Unlock()
			a.unlock()
			return k.err
		}
		if len(k.waiting) < 2*commitObjects {
			k.waiting = append(k.waiting, a)
			k.bytes += a.job.size
			// The first starts the clock.
			if len(k.waiting) == 1 || len(k.waiting) == commitObjects || k.bytes >= commitBytes {
				select {
				case k.due <- struct{}{}:
				default:
				}
			}
			k.mu.Unlock()
			return nil
		}
		room := k.room
		k.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			a.unlock()
			return ctx.Err()
		}
	}
}

// close commits what is left.
func (k *committer) close() error {
	k.once.Do(func() { close(k.quit) })
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

func (k *committer) run(failed func(error)) {
	defer close(k.done)
	defer k.dir.Close()
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	for last := false; !last; {
		select {
		case <-k.due:
			k.mu.Lock()
			now := len(k.waiting) >= commitObjects || k.bytes >= commitBytes
			k.mu.Unlock()
			if !now {
				timer.Reset(commitAfter)
				continue
			}
		case <-timer.C:
		case <-k.quit:
			last = true
		}
		k.mu.Lock()
		batch, broken := k.waiting, k.err
		k.waiting, k.bytes = nil, 0
		close(k.room)
		k.room = make(chan struct{})
		k.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		err := broken
		if err == nil {
			err = k.commit(batch)
		}
		for _, a := range batch {
			a.unlock()
		}
		if err != nil && broken == nil {
			k.mu.Lock()
			k.err = err
			k.mu.Unlock()
			failed(err)
		}
	}
}

func (k *committer) commit(batch []arrival) error {
	if err := unix.Syncfs(int(k.dir.Fd())); err != nil {
		return storage("write content", err)
	}
	jobs := make([]job, 0, len(batch))
	for _, a := range batch {
		if err := k.cache.keepVerified(a.job.cacheKey, a.verified); err != nil {
			return err
		}
		jobs = append(jobs, a.job)
	}
	if err := syncDir(k.cache.path("objects")); err != nil {
		return storage("keep content", err)
	}
	var errs []error
	for _, j := range jobs {
		if !j.whole() {
			errs = append(errs, k.cache.remove(downloads, j.cacheKey+partsSuffix))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return storage("keep content", err)
	}
	return k.placed(jobs)
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
