// Package content brings an app's files from an object store to a seat, through
// a cache that all seats of a node share.
//
//	hold, err := content.Fetch(ctx, content.Request{
//		Store: spec.S3, Items: spec.Content, Cache: spec.Cache, TaskDir: spec.TaskDir,
//	})
//	if err != nil { … }      // a wire.End that says what to do
//	defer hold.Close()       // from here on the cache may evict the files
//
// # What is promised
//
// Either every item is at its destination under TaskDir, complete and verified,
// or Fetch returns a wire.End with a code of internal/wire/seat.go. A file of the
// cache is complete from the moment it has its name: it is downloaded elsewhere,
// verified, synced and renamed.
//
// Verified means: against the job's sha256 where it gives one; else against the
// size and whatever whole-object checksum the store keeps (SHA-256, CRC-64/NVME,
// CRC-32C, CRC-32, MD5), with every part bound to one ETag.
//
// An object is downloaded once a node, however many stream hosts want it at the
// same time. A download that was cut short, also by SIGKILL, goes on where it was:
// 8 MiB parts that arrived are remembered on disk. With a sha256 in the job, a
// cached object is used without asking the store at all.
//
// Passing faults are retried with back-off. A store that gives no byte for
// Patience is given up with CodeContentStore.
//
// # How a file reaches the app
//
// By hard link where the app runs as another user than the stream host: the
// inode belongs to root and has mode 0444, so the app can read it and change
// neither its bytes nor its mode, the pages are shared by all seats, and
// nothing has to be undone when a stream host is killed (a bind mount would stay
// behind and stand in the way of removing the task directory; a symbolic link
// would need the cache inside the app's mount namespace). Where the app runs as
// the owner of the cache (Private), or the cache is on another filesystem, it
// gets a copy of its own, by reflink where the filesystem can.
//
// # On disk
//
//	DIR/lock            flock: use lists and eviction
//	DIR/objects/KEY     complete, mode 0444; KEY names the sha256, or object+ETag+size
//	DIR/partial/KEY     a download under way, with its part map in KEY.parts
//	DIR/locks/KEY       flock: who downloads KEY
//	DIR/uses/RANDOM     flock: a live seat; its lines are the KEYs it uses
//
// Eviction takes the least recently used objects and abandoned downloads, and
// never what a live seat uses: the kernel drops a dead seat's flock.
package content

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

// Patience is how long a store may give no byte before it is given up.
const Patience = 30 * time.Second

const (
	partSize      = 8 << 20
	filesAtOnce   = 4
	partsAtOnce   = 4
	triesPerPart  = 5
	replacedTries = 3
)

// Request says what to bring where.
type Request struct {
	Store   wire.S3
	Items   []wire.Content
	Cache   wire.Cache
	TaskDir string
	// Private gives the app copies instead of links: needed where the app runs
	// as the user that owns the cache, and so could change it.
	Private bool
	// Progress is told how many of all bytes are here and which object is
	// coming. It is called often and from several goroutines; it must not block.
	Progress func(done, total int64, name string)
	// Patience replaces the package's, if not zero.
	Patience time.Duration
}

// Fetch places every item under req.TaskDir. The files stay in the cache at
// least until the Hold is closed or this process is dead.
func Fetch(ctx context.Context, req Request) (*Hold, error) {
	if len(req.Items) == 0 {
		return &Hold{}, nil
	}
	if req.Patience == 0 {
		req.Patience = Patience
	}
	hold, err := fetch(ctx, req)
	if err == nil {
		return hold, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var end wire.End
	if errors.As(err, &end) {
		return nil, end
	}
	return nil, failure(wire.CodeContentStore, "%v", err)
}

func fetch(ctx context.Context, req Request) (*Hold, error) {
	sources := make([]source, len(req.Items))
	for i, item := range req.Items {
		var err error
		if sources[i], err = parseSource(item); err != nil {
			return nil, err
		}
	}
	task, err := openPlace(req.TaskDir, req.Private)
	if err != nil {
		return nil, err
	}
	defer task.Close()
	cache, err := openCache(req.Cache)
	if err != nil {
		return nil, err
	}
	store := &store{settings: req.Store, patience: req.Patience}

	var files []file
	for _, src := range sources {
		more, err := resolve(ctx, cache, store, src)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}

	hold, err := cache.pin(ctx, files)
	if err != nil {
		return nil, err
	}
	meter := newMeter(files, req.Progress)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	for _, f := range files {
		group.Go(func() error {
			if f.dir {
				return task.mkdir(f.dest)
			}
			path, err := obtain(gctx, cache, store, f, meter)
			if err != nil {
				return err
			}
			return task.put(path, f.dest)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, hold.Close())
	}
	return hold, nil
}

// obtain returns where in the cache f is, after downloading it if need be.
func obtain(ctx context.Context, cache *cache, store *store, f file, meter *meter) (string, error) {
	for try := 1; ; try++ {
		path, err := obtainOnce(ctx, cache, store, f, meter)
		// The object was replaced in the store while it was coming: what
		// is there now is what the job wants, unless it never holds still.
		if errors.Is(err, errReplaced) && try < replacedTries {
			continue
		}
		if errors.Is(err, errReplaced) {
			return "", failure(wire.CodeContentStore, "%s changes in the store faster than it can be downloaded; publish it under a new key", f.name())
		}
		return path, err
	}
}

func obtainOnce(ctx context.Context, cache *cache, store *store, f file, meter *meter) (string, error) {
	if path, ok := cache.has(f.cacheKey); ok {
		meter.complete(f)
		return path, nil
	}
	unlock, err := cache.lockKey(ctx, f.cacheKey, func() { meter.set(f, cache.partialDone(f.cacheKey)) })
	if err != nil {
		return "", err
	}
	defer unlock()
	if path, ok := cache.has(f.cacheKey); ok { // another seat brought it meanwhile
		meter.complete(f)
		return path, nil
	}
	if err := download(ctx, cache, store, f, meter); err != nil {
		return "", err
	}
	meter.complete(f)
	path, _ := cache.has(f.cacheKey)
	return path, nil
}

// failure is a seat's end by a fault of its content.
func failure(code, format string, args ...any) wire.End {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// meter adds up the progress of all files.
type meter struct {
	tell  func(done, total int64, name string)
	total int64
	done  atomic.Int64
	mu    sync.Mutex
	each  map[string]int64 // by destination
}

func newMeter(files []file, tell func(int64, int64, string)) *meter {
	m := &meter{tell: tell, each: map[string]int64{}}
	for _, f := range files {
		m.total += f.size
	}
	return m
}

// set says how many bytes of f are here.
func (m *meter) set(f file, n int64) {
	m.mu.Lock()
	delta := n - m.each[f.dest]
	m.each[f.dest] = n
	m.mu.Unlock()
	m.add(f, delta, false)
}

func (m *meter) add(f file, delta int64, count bool) {
	if count {
		m.mu.Lock()
		m.each[f.dest] += delta
		m.mu.Unlock()
	}
	done := m.done.Add(delta)
	if m.tell != nil {
		m.tell(done, m.total, f.name())
	}
}

func (m *meter) complete(f file) { m.set(f, f.size) }
