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
	for _, name := range []string{"objects", downloads, "locks", "uses"} {
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

// Hold keeps a seat's files in the cache.
type Hold struct {
	use   *os.File
	cache *cache
	keys  []string
	// keeping returns when what was fetched is in the cache; nil where it is.
	keeping func() error
}

// Keep returns when what was fetched is on disk and in the cache, and all of it counts as
// used now. The seat need not wait for that, but its process must live until then, else
// the next seat fetches again.
func (h *Hold) Keep() (err error) {
	if h.keeping != nil {
		err = h.keeping()
	}
	h.cache.touch(h.keys)
	return err
}

// Use is the file whose lock keeps the files in the cache, for another process: they
// stay as long as one process has it open. It is nil where nothing is held.
func (h *Hold) Use() *os.File { return h.use }

// Close is Keep, and lets the cache evict the files when it needs space.
func (h *Hold) Close() error {
	if h.use == nil {
		return h.Keep()
	}
	err := h.Keep()
	return errors.Join(err, os.Remove(h.use.Name()), h.use.Close())
}

// pin records that this process uses files, even if they are not in the cache yet.
// From here on, eviction does not remove them. What would not fit is not recorded: of two
// seats that do not fit together, one goes on.
func (c *cache) pin(ctx context.Context, jobs []job) (*Hold, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.fits(jobs); err != nil {
		return nil, err
	}
	use, err := os.CreateTemp(c.path("uses"), "seat-")
	if err != nil {
		return nil, storage("record the use of the cache", err)
	}
	hold := &Hold{use: use, cache: c}
	var list bytes.Buffer
	for _, j := range jobs {
		hold.keys = append(hold.keys, j.cacheKey)
		fmt.Fprintln(&list, j.cacheKey, j.size)
	}
	if err := unix.Flock(int(use.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(storage("lock the use of the cache", err), hold.Close())
	}
	if _, err := use.Write(list.Bytes()); err != nil {
		return nil, errors.Join(storage("record the use of the cache", err), hold.Close())
	}
	return hold, nil
}

// grow records the size of an object that was replaced in the store, and makes room for it.
func (h *Hold) grow(ctx context.Context, j job) error {
	if h.use == nil { // a fetch ahead has nothing that stays
		return nil
	}
	unlock, err := h.cache.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.cache.fits([]job{j}); err != nil {
		return err
	}
	// Of two lines with one key, the larger size counts.
	if _, err := fmt.Fprintln(h.use, j.cacheKey, j.size); err != nil {
		return storage("record the use of the cache", err)
	}
	_, err = h.cache.evict(0, 0)
	return err
}

// fits refuses jobs that are too large beside what seats use. A seat whose files are all
// here needs no room. The caller holds the cache's lock.
func (c *cache) fits(jobs []job) error {
	if c.max == 0 {
		return nil
	}
	used, err := c.used()
	if err != nil {
		return err
	}
	_, missing, err := c.divide(jobs)
	if err != nil || len(missing) == 0 {
		return err
	}
	for _, j := range jobs {
		used[j.cacheKey] = max(j.size, used[j.cacheKey])
	}
	entries, err := c.entries(used)
	if err != nil {
		return err
	}
	return c.within(entries)
}

// within refuses what seats use if it is more than the limit.
func (c *cache) within(entries []entry) error {
	var inUse int64
	for _, e := range entries {
		if e.inUse {
			inUse += e.size
		}
	}
	if c.max > 0 && inUse > c.max {
		return failure(wire.CodeDiskFull, "the content cache is limited to %s, but running seats need %s; raise its max_bytes, or run fewer apps on the node", megabytes(c.max), megabytes(inUse))
	}
	return nil
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

// makeRoom evicts until all that seats use fits under the limit. In any case it evicts
// so many bytes as more, if it can: the disk itself is full. It returns what it evicted.
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
	for _, e := range entries {
		over := c.max > 0 && total > c.max
		if !over && evicted >= more {
			break
		}
		if e.inUse {
			continue
		}
		if err := errors.Join(c.remove("objects", e.key), c.removePartial(e.key), c.remove(olderDownloads, e.key), c.remove(olderDownloads, e.key+partsSuffix)); err != nil {
			return evicted, storage("evict from the cache", err)
		}
		total -= e.size
		evicted += e.size
	}
	return evicted, nil
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
	return failure(wire.CodeConfig, "%s: %v", verb, err)
}

func megabytes(n int64) string {
	if n < 10e6 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}
