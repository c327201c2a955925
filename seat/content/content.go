// Package content fetches an app's files from an object store into a seat's task
// directory, through a cache that all seats of a node share.
//
//	hold, err := content.Fetch(ctx, content.Request{
//		Store: spec.S3, Items: spec.Content, Cache: spec.Cache, TaskDir: spec.TaskDir,
//	})
//	if err != nil { … }      // a wire.End that says what to do
//	defer hold.Close()       // lets the cache evict the files
//
// # Guarantees
//
// Either every item is at its destination under TaskDir, complete and verified,
// or Fetch returns a wire.End with a code of internal/wire/seat.go. Every file in
// objects/ is complete and on disk: it is downloaded to downloads/, verified, placed,
// synced, then renamed. The seat does not wait for the last two (Hold.Keep). Where the disk
// fails in them, the app may read wrong bytes of a file that was verified: then the seat
// ends (Spoilt).
//
// An object is verified against the job's sha256 if it gives one. Otherwise it is
// verified against its size and a whole-object checksum of the store, if there is
// one (SHA-256, CRC-64/NVME, CRC-32C, CRC-32, MD5), and every part must have the
// same ETag.
//
// A node downloads an object once, even if many stream hosts want it at the same
// time. Each of them fetches for itself what no other fetches: if one is cancelled,
// the others go on. A download that was interrupted, even by SIGKILL, continues: the
// parts of 8 to 32 MiB that arrived are recorded on disk. It starts again where a seat still
// has the file (as a link) that was not in the cache yet: no byte of that may change. An
// object of at most 16 MiB is one request, and starts again. A Fetch that is cancelled
// keeps what arrived. If the job gives a sha256, a version or a manifest, a cached object
// is used without a request to the store.
//
// How many requests are in flight follows what they bring, between 4 and 256: half of
// them where the store refuses or drops some. Temporary faults are retried with
// back-off. If the store sends no byte for Patience, Fetch fails with CodeContentStore.
//
// # How a file reaches the app
//
// By hard link, if the app runs as another user than the stream host. The inode
// belongs to root and has mode 0444, so the app can read it but change neither
// its bytes nor its mode. All seats share its pages. Nothing must be undone when
// a stream host is killed. Of many files, the seat before has made the links already, and
// the seat gets them by a rename (tree.go). (A bind mount would stay and block the removal of the
// task directory. A symbolic link would need the cache in the app's mount
// namespace.) If the app runs as the owner of the cache (Private), or the cache is
// on another filesystem, the app gets a copy, by reflink if the filesystem can.
//
// # On disk
//
//	DIR/lock            flock: held to read or change uses, and to evict
//	DIR/objects/KEY     complete, mode 0444; KEY names the sha256, or object+ETag+size
//	DIR/downloads/KEY   a download in progress, with its part map in KEY.parts
//	DIR/trees/KEY       links to objects, for the next seat of one version: KEY names paths and objects
//	DIR/locks/downloads a byte locked for each KEY that is downloaded
//	DIR/uses/RANDOM     flock: held by a running seat; its lines are the KEYs it uses
//	DIR/partial         downloads of older releases, which are only evicted
//
// Eviction removes the least recently used objects and abandoned downloads. It
// never removes what a running seat uses. When a seat dies, the kernel releases
// its flock.
package content

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Patience is how long a store may send no byte before Fetch fails.
const Patience = 30 * time.Second

const (
	minPart       = 8 << 20
	maxPart       = 32 << 20
	triesPerPart  = 5
	replacedTries = 3
)

// Request says what to fetch, and where to put it.
type Request struct {
	Store   wire.S3
	Items   []wire.Content
	Cache   wire.Cache
	TaskDir string
	// Private gives the app copies instead of links. It is needed if the app runs
	// as the user that owns the cache: through a link it could change the cache.
	Private bool
	// Ahead fetches into the cache before a seat asks, and puts nothing under TaskDir. One
	// at a time does so on a node, with few requests in flight, and only while no seat of
	// the node fetches. It may have half of the cache, and keeps nothing there against a
	// seat that needs the room.
	Ahead bool
	// Progress is called with the bytes that are here, the bytes of all objects,
	// and the name of the present object. It is called often and by several
	// goroutines. It must not block.
	Progress func(done, total int64, name string)
	// Patience replaces the package's constant, if it is not zero.
	Patience time.Duration
}

// Fetch puts every item under req.TaskDir. The files stay in the cache at least
// until the Hold is closed or this process ends.
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
	task, err := openTaskDir(req.TaskDir, req.Private)
	if err != nil {
		return nil, err
	}
	defer task.Close()
	cache, err := openCache(req.Cache)
	if err != nil {
		return nil, err
	}
	store := &store{settings: req.Store, patience: req.Patience}
	each, err := resolveAll(ctx, cache, store, sources)
	if err != nil {
		return nil, err
	}
	var trees []*tree
	if !req.Ahead && !req.Private && sameDisk(cache.dir, req.TaskDir) {
		trees = treesOf(sources, each)
	}
	dirs, objects := split(slices.Concat(each...))
	jobs := jobsOf(objects)
	hold := &Hold{cache: cache}
	if req.Ahead {
		dirs = nil
		for i := range jobs {
			jobs[i].dests = nil
			hold.keys = append(hold.keys, jobs[i].cacheKey)
		}
	} else {
		if hold, err = cache.pin(ctx, jobs, each, trees); err != nil {
			return nil, err
		}
	}
	f := &fetcher{cache: cache, hold: hold, store: store, task: task, meter: newMeter(jobs, req.Progress), pace: newPace(), ahead: req.Ahead}
	if req.Ahead {
		f.pace = newSteadyPace(aheadInFlight)
	}
	if err := f.putAll(ctx, each, trees, dirs, jobs); err != nil {
		// While the use of their files is recorded: what is ready has all of them in the cache.
		cache.giveBack(trees)
		return nil, errors.Join(err, hold.Close())
	}
	return hold, nil
}

// putAll puts everything where it goes.
func (f *fetcher) putAll(ctx context.Context, each [][]file, trees []*tree, dirs []string, jobs []job) error {
	if anyTaken(trees) {
		rest, err := f.adopt(each, trees)
		if err != nil {
			return err
		}
		name := jobs[0].name()
		var objects []file
		dirs, objects = split(rest)
		jobs = jobsOf(objects)
		f.meter.rest(jobs, name)
	}
	for _, dir := range dirs {
		if err := f.task.mkdir(dir); err != nil {
			return err
		}
	}
	return f.fetchAll(ctx, jobs)
}

// failure is the end of a seat whose content cannot be fetched.
func failure(code, format string, args ...any) wire.End {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: fmt.Sprintf(format, args...)}
}
