package content

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A commit is due when so many objects or bytes arrived, or so long after the first.
// Each waits with an open lock file.
const (
	commitObjects = 1000
	commitBytes   = 256 << 20
	commitAfter   = time.Second
)

// arrival is an object that is downloaded and verified, in partial/.
type arrival struct {
	job    job
	unlock func()
}

// committer moves arrivals to objects/, many at once: one sync of the file system then
// makes all of them durable. To sync each small file takes longer than to fetch it.
type committer struct {
	cache *cache
	// partial was opened before anything was written: so syncfs tells of all faults.
	partial *os.File
	placed  func(batch []job) error

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
	partial, err := os.Open(c.path("partial"))
	if err != nil {
		return nil, storage("open the cache", err)
	}
	k := &committer{
		cache: c, partial: partial, placed: placed,
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
	defer k.partial.Close()
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
	if err := unix.Syncfs(int(k.partial.Fd())); err != nil {
		return storage("write content", err)
	}
	jobs := make([]job, 0, len(batch))
	for _, a := range batch {
		if err := os.Rename(k.cache.path("partial", a.job.cacheKey), k.cache.path("objects", a.job.cacheKey)); err != nil {
			return storage("keep content", err)
		}
		jobs = append(jobs, a.job)
	}
	if err := syncDir(k.cache.path("objects")); err != nil {
		return storage("keep content", err)
	}
	var errs []error
	for _, j := range jobs {
		if !j.whole() {
			errs = append(errs, k.cache.remove("partial", j.cacheKey+partsSuffix))
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
