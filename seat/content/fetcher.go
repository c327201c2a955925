package content

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

// job is an object, and everywhere that it goes.
type job struct {
	file
	dests []string
}

// jobsOf puts files together that are the same object.
func jobsOf(files []file) []job {
	var jobs []job
	at := make(map[string]int, len(files))
	for _, f := range files {
		i, ok := at[f.cacheKey]
		if !ok {
			i = len(jobs)
			at[f.cacheKey] = i
			jobs = append(jobs, job{file: f})
		}
		if f.dest != "" { // a manifest goes nowhere
			jobs[i].dests = append(jobs[i].dests, f.dest)
		}
	}
	return jobs
}

// fetcher fetches the objects of one request.
type fetcher struct {
	cache   *cache
	store   *store
	task    *taskDir
	meter   *meter
	pace    *pace
	watch   *watchdog
	locks   *keyLocks
	hold    *Hold
	commits *committer
	ahead   bool // no seat waits
	// creating is held to make a file: of several that make one in a directory, the kernel
	// lets one, and the others use up the processor while they wait.
	creating sync.Mutex
}

// fetchAll puts all objects into the cache and from there where they go.
func (f *fetcher) fetchAll(ctx context.Context, jobs []job) (err error) {
	present, missing, err := f.cache.divide(jobs)
	if err != nil {
		return err
	}
	if err := f.place(present, "objects"); err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	if f.locks, err = f.cache.openKeyLocks(); err != nil {
		return err
	}
	// Until what arrived is in the cache, nobody else downloads it.
	release := f.locks.close
	defer func() { err = errors.Join(err, release()) }()
	if f.ahead {
		missing, err = f.begin(ctx, jobs)
	} else if err = f.locks.share(); err == nil {
		_, err = f.cache.makeRoom(ctx, 0)
	}
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ctx, f.watch = newWatchdog(ctx, f.store.patience)
	defer f.watch.stop()
	arrived := func(batch []job) error { return f.place(batch, downloads) }
	if f.commits, err = newCommitter(f.cache, f.ahead, arrived, func(err error) { stop(err) }); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxInFlight)
	if f.ahead {
		group.SetLimit(aheadInFlight)
	}
	for _, j := range missing {
		if gctx.Err() != nil {
			break
		}
		group.Go(func() error { return f.obtain(gctx, j) })
	}
	err = group.Wait()
	if err == nil {
		err = f.commits.settle()
	}
	if err != nil {
		// What arrived is kept, also by a fetch that failed or was cancelled.
		if committed := f.commits.close(); committed != nil {
			return committed // the reason why the others were cancelled
		}
		return err
	}
	// From here on the hold has the locks.
	release = func() error { return nil }
	f.hold.keeping = sync.OnceValue(func() error { return errors.Join(f.commits.close(), f.commits.evicted(), f.locks.close()) })
	return nil
}

// place puts files of the cache's objects or downloads where they go, a directory at a time.
func (f *fetcher) place(jobs []job, from string) error {
	byDir := map[string][]placement{}
	for _, j := range jobs {
		for _, dest := range j.dests {
			dir, name := filepath.Split(dest)
			dir = filepath.Clean(dir)
			byDir[dir] = append(byDir[dir], placement{path: f.cache.path(from, j.cacheKey), name: name})
		}
	}
	group := new(errgroup.Group)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for dir, all := range byDir {
		for some := range slices.Chunk(all, 512) {
			group.Go(func() error { return f.task.put(dir, some) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, j := range jobs {
		f.meter.complete(j)
	}
	return nil
}

// obtain brings j into the cache and places it, or hands it to the committer, which does.
func (f *fetcher) obtain(ctx context.Context, j job) error {
	for try := 1; ; try++ {
		if err := f.quiet(ctx); err != nil {
			return err
		}
		err := f.obtainOnce(ctx, j)
		if errors.Is(err, errYield) {
			try--
			continue
		}
		if !errors.Is(err, errReplaced) {
			return err
		}
		// The object was replaced in the store during the download. The job wants
		// the new one, so start again, but not for ever.
		if try >= replacedTries {
			return failure(wire.CodeContentStore, "%s changes in the store faster than it can be downloaded; publish it under a new key", j.name())
		}
		if j, err = f.store.again(ctx, j); err != nil {
			return err
		}
		if err := f.hold.grow(ctx, j); err != nil {
			return err
		}
	}
}

func (f *fetcher) obtainOnce(ctx context.Context, j job) (err error) {
	unlock, err := f.locks.lock(ctx, j.cacheKey, func() { f.meter.set(j, f.cache.partialDone(j.cacheKey)) })
	if err != nil {
		return err
	}
	if ok, err := f.cache.holds(j); ok || err != nil { // another seat downloaded it meanwhile
		unlock()
		if err != nil {
			return err
		}
		return f.place([]job{j}, "objects")
	}
	a := arrival{job: j, recorded: func() {}, unlock: unlock}
	if j.whole() {
		a.verified, err = f.small(ctx, j)
	} else {
		a.verified, a.recorded, err = f.large(ctx, j)
	}
	if err != nil {
		unlock()
		return err
	}
	return f.commits.add(ctx, a)
}

// divide says which objects are in the cache.
func (c *cache) divide(jobs []job) (present, missing []job, err error) {
	here := make([]bool, len(jobs))
	var next atomic.Int64
	group := new(errgroup.Group)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
				var err error
				if here[i], err = c.holds(jobs[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i, j := range jobs {
		if here[i] {
			present = append(present, j)
		} else {
			missing = append(missing, j)
		}
	}
	return present, missing, nil
}

// split divides files into directories to make and objects.
func split(files []file) (dirs []string, objects []file) {
	objects = make([]file, 0, len(files))
	for _, f := range files {
		if f.dir {
			dirs = append(dirs, strings.TrimSuffix(f.dest, "/"))
		} else {
			objects = append(objects, f)
		}
	}
	return dirs, objects
}
