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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// cache is the node's cache directory. All its state is on disk, since other
// processes use it too.
type cache struct {
	dir string
	max int64
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

// Use is the file whose lock keeps the files in the cache, for another process: they
// stay as long as one process has it open. It is nil where nothing is held.
func (h *Hold) Use() *os.File { return h.use }

// Close lets the cache evict the files when it needs space.
func (h *Hold) Close() error {
	if h.use == nil {
		return nil
	}
	h.cache.touch(h.keys)
	err := os.Remove(h.use.Name())
	return errors.Join(err, h.use.Close())
}

// pin records that this process uses files, even if they are not in the cache yet.
// From here on, eviction does not remove them.
func (c *cache) pin(ctx context.Context, jobs []job) (*Hold, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
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
	c.touch(hold.keys)
	return hold, nil
}

// touch marks objects as used now, by their access time. The modification time
// stays that of the content.
func (c *cache) touch(keys []string) {
	for _, key := range keys {
		now := unix.NsecToTimespec(time.Now().UnixNano())
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, c.path("objects", key), []unix.Timespec{now, {Nsec: unix.UTIME_OMIT}}, 0)
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
// size what seats use and have not downloaded yet. The caller holds the cache's lock.
func (c *cache) entries() ([]entry, error) {
	used, err := c.used()
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
	entries, err := c.entries()
	if err != nil {
		return 0, err
	}
	var total, inUse int64
	for _, e := range entries {
		total += e.size
		if e.inUse {
			inUse += e.size
		}
	}
	if c.max > 0 && inUse > c.max {
		return 0, failure(wire.CodeDiskFull, "the content cache is limited to %s, but running seats need %s; raise its max_bytes, or run fewer apps on the node", megabytes(c.max), megabytes(inUse))
	}
	for _, e := range entries {
		over := c.max > 0 && total > c.max
		if !over && evicted >= more {
			break
		}
		if e.inUse {
			continue
		}
		if err := errors.Join(c.remove("objects", e.key), c.removePartial(e.key)); err != nil {
			return evicted, storage("evict from the cache", err)
		}
		total -= e.size
		evicted += e.size
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
