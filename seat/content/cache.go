package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// cache is the node's directory. It holds no state of its own: everything that
// counts is on disk, since its other users are other processes.
type cache struct {
	dir string
	max int64
}

func openCache(settings wire.Cache) (*cache, error) {
	if !filepath.IsAbs(settings.Dir) {
		return nil, failure(wire.CodeConfig, "the cache directory %q is not an absolute path; set the driver's cache_dir", settings.Dir)
	}
	c := &cache{dir: settings.Dir, max: settings.MaxBytes}
	// The app's user must not reach the cache by name, only its own links.
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, storage("create the cache", err)
	}
	for _, name := range []string{"objects", "partial", "locks", "uses"} {
		if err := os.MkdirAll(c.path(name), 0o700); err != nil {
			return nil, storage("create the cache", err)
		}
	}
	return c, nil
}

func (c *cache) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

func (c *cache) has(key string) (string, bool) {
	path := c.path("objects", key)
	_, err := os.Stat(path)
	return path, err == nil
}

func (c *cache) size(key string) (int64, bool) {
	info, err := os.Stat(c.path("objects", key))
	if err != nil {
		return 0, false
	}
	return info.Size(), true
}

// Hold keeps a seat's files in the cache.
type Hold struct {
	use   *os.File
	cache *cache
	keys  []string
}

// Close lets the cache evict the files when it needs room.
func (h *Hold) Close() error {
	if h.use == nil {
		return nil
	}
	h.cache.touch(h.keys)
	err := os.Remove(h.use.Name())
	return errors.Join(err, h.use.Close())
}

// pin writes down that this process uses files, before it is known whether
// they are in the cache: from here on eviction leaves them alone.
func (c *cache) pin(ctx context.Context, files []file) (*Hold, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	use, err := os.CreateTemp(c.path("uses"), "seat-")
	if err != nil {
		return nil, storage("note use of the cache", err)
	}
	hold := &Hold{use: use, cache: c}
	var list bytes.Buffer
	for _, f := range files {
		if !f.dir {
			hold.keys = append(hold.keys, f.cacheKey)
			fmt.Fprintln(&list, f.cacheKey)
		}
	}
	if err := unix.Flock(int(use.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(storage("lock use of the cache", err), hold.Close())
	}
	if _, err := use.Write(list.Bytes()); err != nil {
		return nil, errors.Join(storage("note use of the cache", err), hold.Close())
	}
	c.touch(hold.keys)
	return hold, nil
}

// touch marks objects as just used. The access time is the mark: reading also
// sets it, and the modification time stays that of the content.
func (c *cache) touch(keys []string) {
	for _, key := range keys {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, c.path("objects", key), []unix.Timespec{now, {Nsec: unix.UTIME_OMIT}}, 0)
	}
}

// used returns the keys that live seats use. It needs the cache's lock.
func (c *cache) used() (map[string]bool, error) {
	keys := map[string]bool{}
	entries, err := os.ReadDir(c.path("uses"))
	if err != nil {
		return nil, storage("read the cache", err)
	}
	for _, e := range entries {
		path := c.path("uses", e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue // closed this moment
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(path) // its seat is dead
		} else if data, err := os.ReadFile(path); err == nil {
			for key := range strings.Lines(string(data)) {
				keys[strings.TrimSpace(key)] = true
			}
		}
		f.Close()
	}
	return keys, nil
}

// entry is something that eviction can take.
type entry struct {
	key  string
	size int64
	used time.Time
	live bool
}

// entries lists objects and downloads. It needs the cache's lock.
func (c *cache) entries() ([]entry, error) {
	live, err := c.used()
	if err != nil {
		return nil, err
	}
	byKey := map[string]entry{}
	for _, kind := range []string{"objects", "partial"} {
		list, err := os.ReadDir(c.path(kind))
		if err != nil {
			return nil, storage("read the cache", err)
		}
		for _, e := range list {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(e.Name(), partsSuffix) {
				continue
			}
			if err != nil {
				return nil, storage("read the cache", err)
			}
			entry := byKey[e.Name()]
			entry.key, entry.live = e.Name(), live[e.Name()]
			entry.size += info.Size()
			if t := accessed(info); t.After(entry.used) {
				entry.used = t
			}
			byKey[e.Name()] = entry
		}
	}
	out := make([]entry, 0, len(byKey))
	for _, e := range byKey {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b entry) int { return a.used.Compare(b.used) })
	return out, nil
}

func accessed(info fs.FileInfo) time.Time {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(stat.Atim.Unix())
	}
	return info.ModTime()
}

// makeRoom evicts until size more bytes for key fit under the limit, and, if
// evenOne, at least one object besides: the disk itself is full.
func (c *cache) makeRoom(ctx context.Context, key string, size int64, evenOne bool) (evicted int, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	entries, err := c.entries()
	if err != nil {
		return 0, err
	}
	total, inUse := size, size
	for _, e := range entries {
		if e.key == key {
			continue // its own earlier part is in size
		}
		total += e.size
		if e.live {
			inUse += e.size
		}
	}
	if c.max > 0 && inUse > c.max {
		return 0, failure(wire.CodeDiskFull, "the content cache may hold %s and live seats need %s of it; raise its max_bytes or run fewer apps on the node", megabytes(c.max), megabytes(inUse))
	}
	for _, e := range entries {
		over := c.max > 0 && total > c.max
		if !over && (!evenOne || evicted > 0) {
			break
		}
		if e.live || e.key == key {
			continue
		}
		if err := errors.Join(c.remove("objects", e.key), c.removePartial(e.key)); err != nil {
			return evicted, storage("evict from the cache", err)
		}
		total -= e.size
		evicted++
	}
	return evicted, nil
}

func (c *cache) remove(kind, name string) error {
	if err := os.Remove(c.path(kind, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *cache) removePartial(key string) error {
	return errors.Join(c.remove("partial", key+".new"+partsSuffix), c.remove("partial", key+partsSuffix), c.remove("partial", key))
}

// lock takes the lock of use lists and eviction; it is only held for moments.
func (c *cache) lock(ctx context.Context) (unlock func(), err error) {
	return flock(ctx, c.path("lock"), false, nil)
}

// lockKey takes the right to download key. While another process has it,
// waiting is called from time to time.
func (c *cache) lockKey(ctx context.Context, key string, waiting func()) (unlock func(), err error) {
	return flock(ctx, c.path("locks", key), true, waiting)
}

// flock waits for an exclusive lock on path. With remove, the file goes with
// the lock, and whoever waited for the gone file starts over with a new one.
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
		// The kernel's own waiting could not be given up when ctx ends.
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

// storage is a fault of the node's own disk.
func storage(verb string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return failure(wire.CodeDiskFull, "%s: the disk is full; free space or set the cache's max_bytes below what the disk has", verb)
	}
	return failure(wire.CodeConfig, "%s: %v", verb, err)
}

func megabytes(n int64) string {
	if n < 10e6 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}
