package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// Hold keeps a seat's files in the cache.
type Hold struct {
	use   *os.File
	cache *cache
	keys  []string
	// keeping returns when what was fetched is in the cache; nil where it is.
	keeping func() error
	// trees are made for the next seat.
	trees []*tree
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

// Prepare makes ready what the next seat of the same files gets by a rename, after Keep. Where it
// fails, the next seat makes its links itself.
func (h *Hold) Prepare(ctx context.Context) error {
	if h.use == nil {
		return nil // eviction could take the files meanwhile
	}
	return h.cache.keepTrees(ctx, h.trees)
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
// seats that do not fit together, one goes on. It takes those trees that are ready.
func (c *cache) pin(ctx context.Context, jobs []job, each [][]file, trees []*tree) (hold *Hold, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, t := range trees {
		c.take(t)
	}
	defer func() {
		if err != nil {
			c.giveBack(trees)
		}
	}()
	rest := jobs
	if anyTaken(trees) {
		_, objects := split(besides(each, trees))
		rest = jobsOf(objects)
	}
	if err := c.fits(jobs, rest); err != nil {
		return nil, err
	}
	var use *os.File
	err = c.withRoomLocked(func() (err error) { use, err = os.CreateTemp(c.path("uses"), "seat-"); return err })
	if err != nil {
		return nil, storage("record the use of the cache", err)
	}
	hold = &Hold{use: use, cache: c, trees: trees}
	var list bytes.Buffer
	for _, j := range jobs {
		hold.keys = append(hold.keys, j.cacheKey)
		fmt.Fprintln(&list, j.cacheKey, j.size)
	}
	if err := unix.Flock(int(use.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(storage("lock the use of the cache", err), hold.Close())
	}
	if err := hold.record(list.Bytes()); err != nil {
		return nil, errors.Join(storage("record the use of the cache", err), hold.Close())
	}
	return hold, nil
}

// record adds to what is recorded as used. The caller holds the cache's lock.
func (h *Hold) record(lines []byte) error {
	before, err := h.use.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return h.cache.withRoomLocked(func() error {
		if _, err := h.use.WriteAt(lines, before); err != nil {
			return errors.Join(err, h.use.Truncate(before)) // no half of a line
		}
		return nil
	})
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
	if err := h.cache.fits([]job{j}, []job{j}); err != nil {
		return err
	}
	// Of two lines with one key, the larger size counts.
	if err := h.record(fmt.Appendln(nil, j.cacheKey, j.size)); err != nil {
		return storage("record the use of the cache", err)
	}
	_, err = h.cache.evict(0, 0)
	return err
}

// fits refuses jobs that are too large beside what seats use. A seat whose files are all
// here needs no room: only rest may be missing. The caller holds the cache's lock.
func (c *cache) fits(jobs, rest []job) error {
	if c.max == 0 {
		return nil
	}
	_, missing, err := c.divide(rest)
	if err != nil || len(missing) == 0 {
		return err
	}
	used, err := c.used()
	if err != nil {
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
