package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// downloads is the directory of what is not verified yet. Releases that locked a download
// by its size, or by a file, have theirs in olderDownloads: they do not meet these.
const downloads, olderDownloads = "downloads", "partial"

// cache is the node's cache directory. All its state is on disk, since other
// processes use it too.
type cache struct {
	dir string
	max int64

	full sync.Mutex // one at a time evicts because the disk is full
}

func openCache(settings wire.Cache) (*cache, error) {
	if !filepath.IsAbs(settings.Dir) {
		return nil, failure(wire.CodeConfig, "the cache directory %q is not an absolute path; set the driver's cache_dir", settings.Dir)
	}
	c := &cache{dir: settings.Dir, max: settings.MaxBytes}
	// The app's user must not reach the cache by path, only by its links.
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, storage("create the cache", err)
	}
	for _, name := range []string{"objects", downloads, "locks", "uses", treesDir} {
		if err := os.MkdirAll(c.path(name), 0o700); err != nil {
			return nil, storage("create the cache", err)
		}
	}
	return c, nil
}

func (c *cache) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

// holds reports whether j is in the cache.
func (c *cache) holds(j job) (bool, error) {
	size, ok := c.size(j.cacheKey)
	if ok && j.exact && size != j.size {
		return false, wrongSize(j.file, size)
	}
	return ok, nil
}

func (c *cache) size(key string) (int64, bool) {
	info, err := os.Stat(c.path("objects", key))
	if err != nil {
		return 0, false
	}
	return info.Size(), true
}

// touch marks objects and downloads as used now, by their access time. The modification
// time stays that of the content.
func (c *cache) touch(keys []string) {
	for _, key := range keys {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		for _, kind := range []string{"objects", downloads} {
			_ = unix.UtimesNanoAt(unix.AT_FDCWD, c.path(kind, key), []unix.Timespec{now, {Nsec: unix.UTIME_OMIT}}, 0)
		}
	}
}

// used returns the keys that running seats use, with the size of each. The caller holds
// the cache's lock.
func (c *cache) used() (map[string]int64, error) {
	keys := map[string]int64{}
	entries, err := os.ReadDir(c.path("uses"))
	if err != nil {
		return nil, storage("read the cache", err)
	}
	for _, e := range entries {
		path := c.path("uses", e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue // just closed
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(path) // its seat has died
		} else if data, err := os.ReadFile(path); err == nil {
			for line := range strings.Lines(string(data)) {
				// A seat of an older release tells no size.
				key, text, _ := strings.Cut(strings.TrimSpace(line), " ")
				size, _ := strconv.ParseInt(text, 10, 64)
				keys[key] = max(size, keys[key])
			}
		}
		f.Close()
	}
	return keys, nil
}

// entry is an object or a download that eviction can remove.
type entry struct {
	key   string
	size  int64
	used  time.Time
	inUse bool
	links bool // other names of it may be in trees
}

// entries lists objects and downloads, least recently used first, and with their whole
// size what is used and not downloaded yet. The caller holds the cache's lock.
func (c *cache) entries(used map[string]int64) ([]entry, error) {
	byKey := map[string]entry{}
	for _, kind := range []string{"objects", downloads, olderDownloads} {
		list, err := os.ReadDir(c.path(kind))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
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
			entry.key = e.Name()
			_, entry.inUse = used[e.Name()]
			entry.size += info.Size()
			entry.links = entry.links || links(info) > 1
			if t := accessed(info); t.After(entry.used) {
				entry.used = t
			}
			byKey[e.Name()] = entry
		}
	}
	for key, size := range used {
		entry := byKey[key]
		entry.key, entry.inUse, entry.size = key, true, max(entry.size, size)
		byKey[key] = entry
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

func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}

// makeRoom evicts until all that seats use fits under the limit. In any case it evicts
// so many bytes as more, if it can: the disk itself is full. It returns what that freed.
func (c *cache) makeRoom(ctx context.Context, more int64) (evicted int64, err error) {
	if c.max == 0 && more == 0 {
		return 0, nil
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return c.evict(0, more)
}

// evict is makeRoom, with so many bytes of the limit free for what is to come. The caller
// holds the cache's lock.
func (c *cache) evict(coming, more int64) (evicted int64, err error) {
	used, err := c.used()
	if err != nil {
		return 0, err
	}
	entries, err := c.entries(used)
	if err != nil {
		return 0, err
	}
	if err := c.within(entries); err != nil {
		return 0, err
	}
	total := coming
	for _, e := range entries {
		total += e.size
	}
	trees := true
	var held []entry
	over := func() bool { return c.max > 0 && total > c.max }
	for _, e := range entries {
		if !over() && evicted >= more {
			break
		}
		if e.inUse {
			continue
		}
		// While a tree has a link to it, to remove it frees nothing. Which one does is not
		// known, and all of them can be made again.
		if e.links && trees {
			if err := c.dropTrees(0); err != nil {
				return evicted, storage("evict from the cache", err)
			}
			trees = false
		}
		if e.links && c.linked(e.key) {
			held = append(held, e)
			continue
		}
		if err := c.drop(e.key); err != nil {
			return evicted, err
		}
		total -= e.size
		evicted += e.size
	}
	// The folders of ended seats may have links too, until Nomad removes them. What they hold goes last, and only for
	// the limit: it frees nothing now.
	for _, e := range held {
		if !over() {
			break
		}
		if err := c.drop(e.key); err != nil {
			return evicted, err
		}
		total -= e.size
	}
	return evicted, nil
}

// linked reports whether an object has other names.
func (c *cache) linked(key string) bool {
	info, err := os.Lstat(c.path("objects", key))
	return err == nil && links(info) > 1
}

// drop removes what the cache has under a key.
func (c *cache) drop(key string) error {
	if err := errors.Join(c.remove("objects", key), c.removePartial(key), c.remove(olderDownloads, key), c.remove(olderDownloads, key+partsSuffix)); err != nil {
		return storage("evict from the cache", err)
	}
	return nil
}

// withRoom does what may find the disk full. Then it evicts, and does it again, as long as
// there is something to evict.
func (c *cache) withRoom(ctx context.Context, do func() error) error {
	err := do()
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	c.full.Lock()
	defer c.full.Unlock()
	for {
		// Another may have evicted meanwhile.
		if err := do(); !errors.Is(err, unix.ENOSPC) {
			return err
		}
		if evicted, room := c.makeRoom(ctx, evictAtOnce); room != nil || evicted == 0 {
			return err
		}
	}
}

// withRoomLocked is withRoom where the caller holds the cache's lock.
func (c *cache) withRoomLocked(do func() error) error {
	for {
		err := do()
		if !errors.Is(err, unix.ENOSPC) {
			return err
		}
		if evicted, room := c.evict(0, evictAtOnce); room != nil || evicted == 0 {
			return err
		}
	}
}

func (c *cache) remove(kind, name string) error {
	if err := os.Remove(c.path(kind, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *cache) removePartial(key string) error {
	return errors.Join(c.remove(downloads, key+".new"+partsSuffix), c.remove(downloads, key+partsSuffix), c.remove(downloads, key))
}

// storage is the end of a seat whose node's disk fails.
func storage(verb string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return failure(wire.CodeDiskFull, "%s: the disk is full; free space, or set the cache's max_bytes below the size of the disk", verb)
	}
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EROFS) {
		return failure(wire.CodeDiskFailed, "%s: %v; look at the disk of the node's cache", verb, err)
	}
	return failure(wire.CodeConfig, "%s: %v", verb, err)
}

// unsynced is the end of a seat whose node's disk did not keep what the file system took. That
// is no full disk, also where the kernel says that there is no space: the file system had some.
func unsynced(verb string, err error) wire.End {
	return failure(wire.CodeDiskFailed, "%s: %v; look at the disk of the node's cache", verb, err)
}

func megabytes(n int64) string {
	if n < 10e6 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}
