package content

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// A batch is due when so many objects or bytes arrived, or so long after the first.
const (
	commitObjects = 1000
	commitBytes   = 256 << 20
	commitAfter   = time.Second
	// uncommitted is how many objects may have arrived and not be in objects/ yet. Each
	// waits with the lock of its key.
	uncommitted = 2 * commitObjects
)

// arrival is an object that is downloaded and verified, in downloads/.
type arrival struct {
	job      job
	verified identity
	// recorded returns when nothing writes to the record of its parts any more.
	recorded func()
	unlock   func()
}

// release gives up the lock of its key.
func (a arrival) release() {
	a.recorded()
	a.unlock()
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
	if err := unix.Lstat(path, &s); errors.Is(err, fs.ErrNotExist) {
		return errGone
	} else if err != nil {
		return storage("keep content", err)
	}
	if identityOf(s) != verified {
		return failure(wire.CodeContentStore, "the download %s was replaced by another program before it was kept; let only Nearcast write in the cache, and start the seat again", path)
	}
	if err := os.Rename(path, c.path("objects", key)); errors.Is(err, fs.ErrNotExist) {
		return errGone
	} else if err != nil {
		return storage("keep content", err)
	}
	return nil
}

// errGone: a download is not there any more. Eviction takes that of a fetch ahead, which
// pins nothing, where a seat needs the room.
var errGone = failure(wire.CodeConfig, "a download was removed from the cache by another program before it was kept; let only Nearcast write in the cache, and start the seat again")

// spoilt is a fault of the disk after which files of the seat may have other bytes than those
// that were verified.
type spoilt struct{ wire.End }

func (s spoilt) Unwrap() error { return s.End }

// Spoilt gives the end of a seat whose files may not be what was verified, by the error of
// Hold.Keep.
func Spoilt(err error) (wire.End, bool) {
	var s spoilt
	return s.End, errors.As(err, &s)
}

// committer puts arrivals where they go, then moves them to objects/, many at once: one
// sync of the file system makes all of them durable. To sync each small file takes longer
// than to fetch it. A seat waits only until its files are where they go: the disk may be
// slower than the store.
type committer struct {
	cache *cache
	ahead bool
	// dir was opened before anything was written: so syncfs tells of all faults.
	dir   *os.File
	place func(batch []job) error
	fail  func(error)

	mu      sync.Mutex
	waiting []arrival // to be placed
	bytes   int64     // of them
	placed  []arrival // to be moved
	count   int       // arrivals that were not moved yet
	gone    int       // downloads of a fetch ahead that were evicted
	err     error

	due     chan struct{}
	more    chan struct{} // has a token when something was placed
	room    chan struct{} // closed and replaced when arrivals were moved
	quit    chan struct{}
	settled chan struct{} // closed when all is where it goes
	done    chan struct{} // closed when all is in the cache too
	once    sync.Once
}

// newCommitter starts to commit. place is called by one goroutine. fail is called for a
// placement or a commit that fails.
func newCommitter(c *cache, ahead bool, place func([]job) error, fail func(error)) (*committer, error) {
	dir, err := os.Open(c.path(downloads))
	if err != nil {
		return nil, storage("open the cache", err)
	}
	k := &committer{
		cache: c, ahead: ahead, dir: dir, place: place, fail: fail,
		due: make(chan struct{}, 1), more: make(chan struct{}, 1), room: make(chan struct{}),
		quit: make(chan struct{}), settled: make(chan struct{}), done: make(chan struct{}),
	}
	go k.runPlace()
	go k.runCommit()
	return k, nil
}

// add hands an arrival over, with the lock of its key.
func (k *committer) add(ctx context.Context, a arrival) error {
	for {
		k.mu.Lock()
		if k.err != nil {
			defer k.mu.Unlock()
			a.release()
			return k.err
		}
		if k.count < uncommitted {
			k.waiting = append(k.waiting, a)
			k.count++
			k.bytes += a.job.size
			// The first starts the clock.
			if len(k.waiting) == 1 || len(k.waiting) == commitObjects || k.bytes >= commitBytes {
				token(k.due)
			}
			k.mu.Unlock()
			return nil
		}
		room := k.room
		k.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			a.release()
			return ctx.Err()
		}
	}
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settle returns when all that was added is where it goes.
func (k *committer) settle() error {
	k.once.Do(func() { close(k.quit) })
	<-k.settled
	return k.failure()
}

// close returns when all is in the cache, too.
func (k *committer) close() error {
	k.once.Do(func() { close(k.quit) })
	<-k.done
	return k.failure()
}

// evicted says that seats needed the room of a fetch ahead before it ended.
func (k *committer) evicted() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone == 0 {
		return nil
	}
	return failure(wire.CodeDiskFull, "%d objects that were fetched ahead had to make room for seats before they were kept; raise the cache's max_size, or let the first seat fetch them", k.gone)
}

func (k *committer) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// failed keeps the first fault.
func (k *committer) failed(err error) {
	k.mu.Lock()
	first := k.err == nil
	if first {
		k.err = err
	}
	k.mu.Unlock()
	if first {
		k.fail(err)
	}
}

func (k *committer) runPlace() {
	defer close(k.settled)
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
		k.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		if broken == nil {
			jobs := make([]job, len(batch))
			for i, a := range batch {
				jobs[i] = a.job
			}
			if err := k.place(jobs); err != nil {
				k.failed(err)
			}
		}
		k.mu.Lock()
		k.placed = append(k.placed, batch...)
		k.mu.Unlock()
		token(k.more)
	}
}

func (k *committer) runCommit() {
	defer close(k.done)
	defer k.dir.Close()
	broken := false
	for last := false; !last; {
		select {
		case <-k.more:
		case <-k.settled:
			last = true
		}
		k.mu.Lock()
		batch := k.placed
		k.placed = nil
		k.mu.Unlock()
		if len(batch) > 0 && !broken {
			if err := k.commit(batch); err != nil {
				broken = true
				k.failed(err)
			}
		}
		for _, a := range batch {
			a.release()
		}
		k.mu.Lock()
		k.count -= len(batch)
		close(k.room)
		k.room = make(chan struct{})
		k.mu.Unlock()
	}
}

func (k *committer) commit(batch []arrival) error {
	if err := unix.Syncfs(int(k.dir.Fd())); err != nil {
		return spoilt{unsynced("write content to the disk", err)}
	}
	for _, a := range batch {
		err := k.cache.keepVerified(a.job.cacheKey, a.verified)
		if k.ahead && errors.Is(err, errGone) {
			k.mu.Lock()
			k.gone++
			k.mu.Unlock()
		} else if err != nil {
			return err
		}
	}
	if err := syncDir(k.cache.path("objects")); err != nil {
		return storage("keep content", err)
	}
	var errs []error
	for _, a := range batch {
		if a.recorded(); !a.job.whole() {
			errs = append(errs, k.cache.remove(downloads, a.job.cacheKey+partsSuffix))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return storage("keep content", err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
