package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// partsAtOnce bounds the parts of one object that are on their way.
	partsAtOnce = 8
	// recordEvery is how often the part map is written at most, each time after a sync.
	recordEvery = time.Second
)

// partSize is about a thirty-second of an object: each part is a request, and a download
// that is killed loses those that are on their way.
func partSize(size int64) int64 {
	part := int64(minPart)
	for part < maxPart && part*32 < size {
		part *= 2
	}
	return part
}

// large downloads an object in parts, into downloads/, and verifies it. An earlier
// download continues. The caller holds the lock of its key, until recorded has returned:
// the record of the parts may wait for the disk for longer.
func (f *fetcher) large(ctx context.Context, j job) (verified identity, recorded func(), err error) {
	// A listing gives size and ETag. Only HEAD gives the checksums.
	h := head{etag: j.etag, size: j.size, sums: j.sums}
	if h.sums == nil {
		if h, err = f.store.head(ctx, j.file); err != nil {
			return verified, nil, err
		}
	}
	if j.exact && h.size != j.size {
		return verified, nil, wrongSize(j.file, h.size)
	}
	if j.etag != "" && h.etag != j.etag || h.size != j.size {
		return verified, nil, fmt.Errorf("%s changed since it was listed: %w", j.name(), errReplaced)
	}
	j.etag = h.etag

	parts, data, err := f.openPartial(ctx, j)
	if err != nil {
		return verified, nil, err
	}
	f.meter.set(j, parts.bytes())
	d := &partsDownload{fetcher: f, job: j, data: data, parts: parts, sums: h.sums, arrived: make(chan struct{}, 1)}
	record, err := d.run(ctx)
	if err == nil {
		verified, err = finish(data, j.file)
	}
	recorded = func() {
		record()
		data.Close()
	}
	if err != nil {
		recorded()
		recorded = nil
	}
	return verified, recorded, err
}

// openPartial continues an earlier download of the same object, or starts one and
// reserves its disk space.
func (f *fetcher) openPartial(ctx context.Context, j job) (partMap, *os.File, error) {
	fresh := partMap{Bucket: j.bucket, Key: j.key, ETag: j.etag, Size: j.size, PartSize: partSize(j.size)}
	fresh.Done = make([]byte, (fresh.parts()+7)/8)
	path := f.cache.path(downloads, j.cacheKey)
	if old, ok := f.cache.readParts(j.cacheKey); ok && old.sameObject(fresh) {
		data, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			// One that was placed is a seat's file now, and no byte of it may change.
			var s unix.Stat_t
			if err := unix.Fstat(int(data.Fd()), &s); err == nil && s.Size == j.size && s.Nlink == 1 {
				return old, data, nil
			}
			data.Close()
		}
	}
	if err := f.cache.removePartial(j.cacheKey); err != nil {
		return fresh, nil, storage("start a download", err)
	}
	data, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, unverified)
	if err != nil {
		return fresh, nil, storage("start a download", err)
	}
	if err := f.reserve(ctx, j, data); err != nil {
		data.Close()
		return fresh, nil, errors.Join(err, f.cache.removePartial(j.cacheKey))
	}
	return fresh, data, nil
}

// partsDownload is an object of which parts arrive. Beside the downloads, one goroutine
// checks what is complete from the start, and one records what is on disk.
type partsDownload struct {
	fetcher *fetcher
	job     job
	data    *os.File
	sums    checksums
	arrived chan struct{} // has a token when parts arrived
	// writing is held to write: of several that write to one file, the kernel lets one, and
	// the others use up the processor while they wait.
	writing sync.Mutex

	mu    sync.Mutex
	parts partMap
}

// run returns when all parts are here and verified. record then waits for the record of
// them to end.
func (d *partsDownload) run(ctx context.Context) (record func(), err error) {
	f := d.fetcher
	f.watch.begin()
	waits := sync.OnceFunc(f.watch.end)
	defer waits()

	rctx, complete := context.WithCancel(ctx)
	beside, bctx := errgroup.WithContext(rctx)
	down, dctx := errgroup.WithContext(bctx)
	all := make(chan struct{}) // closed when all parts arrived
	next := newPartSignal()
	var recordFault error
	var recorder sync.WaitGroup
	recorder.Go(func() {
		if recordFault = d.record(rctx, all); recordFault != nil {
			complete()
		}
	})
	record = func() { recorder.Wait(); complete() }
	beside.Go(func() error { return d.verify(bctx, next) })

	down.SetLimit(partsAtOnce)
	for i := range d.parts.parts() {
		if d.has(i) {
			next.tell()
			continue
		}
		if dctx.Err() != nil {
			break
		}
		down.Go(func() error {
			if err := d.part(dctx, i); err != nil {
				return err
			}
			d.mu.Lock()
			d.parts.set(i)
			d.mu.Unlock()
			next.tell()
			select {
			case d.arrived <- struct{}{}:
			default:
			}
			return nil
		})
	}
	err = down.Wait()
	waits()
	if err == nil {
		close(all)
		err = beside.Wait()
	} else {
		complete()
		if other := beside.Wait(); other != nil && !errors.Is(other, context.Canceled) {
			err = other // which ended the downloads
		}
	}
	if err != nil {
		complete()
		recorder.Wait()
		if recordFault != nil && ctx.Err() == nil {
			err = recordFault // likewise
		}
	}
	var end wire.End
	if errors.Is(err, errReplaced) || errors.As(err, &end) && end.Code == wire.CodeContentChecksum {
		err = errors.Join(err, f.cache.removePartial(d.job.cacheKey))
	}
	return record, err
}

func (d *partsDownload) has(i int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.parts.has(i)
}

// part downloads part i. After a fault, it continues inside the part.
func (d *partsDownload) part(ctx context.Context, i int) error {
	f := d.fetcher
	from, to := d.parts.bounds(i)
	at := from
	for try := 0; ; try++ {
		n, err := d.copyRange(ctx, at, to)
		if at += n; err == nil {
			return nil
		}
		if errors.Is(err, errYield) {
			return err
		}
		if ctx.Err() == nil {
			f.watch.note(err)
		}
		if ctx.Err() != nil || !temporary(err) || try+1 >= triesPerPart && errors.Is(err, errShort) || !pause(ctx, try) {
			return f.failed(ctx, d.job.file, err)
		}
	}
}

func (d *partsDownload) copyRange(ctx context.Context, from, to int64) (done int64, err error) {
	f := d.fetcher
	if err := f.pace.begin(ctx); err != nil {
		return 0, err
	}
	defer func() { f.pace.end(done, err != nil && crowded(err)) }()
	if err := f.yield(); err != nil {
		return 0, err
	}
	body, _, err := f.store.read(ctx, d.job.file, from, to-1)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	buf, free := buffer(to - from)
	defer free()
	for {
		n, err := body.Read(buf)
		if int64(n) > to-from-done {
			return done, fmt.Errorf("%w: a part has more bytes than it should", errReplaced)
		}
		if n > 0 {
			d.writing.Lock()
			err := f.cache.write(ctx, io.NewOffsetWriter(d.data, from+done), buf[:n])
			d.writing.Unlock()
			if err != nil {
				return done, storage("write content", err)
			}
			done += int64(n)
			f.watch.reset()
			f.meter.add(d.job, int64(n))
		}
		switch {
		case err == nil:
		case from+done == to: // read to its end, so that the connection is used again
			return done, nil
		case ctx.Err() != nil:
			return done, ctx.Err()
		default:
			return done, short(err)
		}
	}
}

// record writes the part map, each time after a sync, until all parts arrived.
func (d *partsDownload) record(ctx context.Context, all <-chan struct{}) error {
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	for {
		select {
		case <-all:
			return nil
		case <-ctx.Done():
			// The last parts: a download that is cancelled continues with them.
			return d.recordNow()
		case <-d.arrived:
		}
		if err := d.recordNow(); err != nil {
			return err
		}
		timer.Reset(recordEvery)
		select {
		case <-all:
			return nil
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

func (d *partsDownload) recordNow() error {
	d.mu.Lock()
	now := d.parts
	now.Done = append([]byte(nil), d.parts.Done...)
	d.mu.Unlock()
	if err := unix.Fdatasync(int(d.data.Fd())); err != nil {
		return unsynced("write content", err)
	}
	return d.fetcher.cache.writeParts(d.job.cacheKey, now)
}

// verify checks the object while it arrives, from its start.
func (d *partsDownload) verify(ctx context.Context, arrived *partSignal) error {
	h := d.job.hash(d.sums)
	if h == nil {
		return nil // only the size and the ETag of each part are known
	}
	buf := make([]byte, 1<<20)
	for i := range d.parts.parts() {
		if err := arrived.wait(ctx, func() bool { return d.has(i) }); err != nil {
			return err
		}
		from, to := d.parts.bounds(i)
		if _, err := io.CopyBuffer(struct{ io.Writer }{h}, io.NewSectionReader(d.data, from, to-from), buf); err != nil {
			return storage("read the download", err)
		}
	}
	return d.job.check(d.sums, h)
}

// partSignal wakes the one who waits for a part.
type partSignal struct{ c chan struct{} }

func newPartSignal() *partSignal { return &partSignal{make(chan struct{}, 1)} }

func (s *partSignal) tell() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

func (s *partSignal) wait(ctx context.Context, ready func() bool) error {
	for !ready() {
		select {
		case <-s.c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
