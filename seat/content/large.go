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
	partsAtOnce = 16
	// recordEvery is how often the part map is written at most, each time after a sync.
	recordEvery = time.Second
)

// large downloads an object in parts, into downloads/, and verifies it. An earlier
// download continues. The caller holds the lock of its key.
func (f *fetcher) large(ctx context.Context, j job) (verified identity, err error) {
	// A listing gives size and ETag. Only HEAD gives the checksums.
	h := head{etag: j.etag, size: j.size, sums: j.sums}
	if h.sums == nil {
		if h, err = f.store.head(ctx, j.file); err != nil {
			return verified, err
		}
	}
	if j.exact && h.size != j.size {
		return verified, wrongSize(j.file, h.size)
	}
	if j.etag != "" && h.etag != j.etag || h.size != j.size {
		return verified, fmt.Errorf("%s changed since it was listed: %w", j.name(), errReplaced)
	}
	j.etag = h.etag

	parts, data, err := f.openPartial(ctx, j)
	if err != nil {
		return verified, err
	}
	defer data.Close()
	f.meter.set(j, parts.bytes())
	d := &partsDownload{fetcher: f, job: j, data: data, parts: parts, sums: h.sums, arrived: make(chan struct{}, 1)}
	if err := d.run(ctx); err != nil {
		return verified, err
	}
	return finish(data, j.file)
}

// openPartial continues an earlier download of the same object, or starts one and
// reserves its disk space.
func (f *fetcher) openPartial(ctx context.Context, j job) (partMap, *os.File, error) {
	fresh := partMap{Bucket: j.bucket, Key: j.key, ETag: j.etag, Size: j.size, PartSize: partSize}
	fresh.Done = make([]byte, (fresh.parts()+7)/8)
	path := f.cache.path(downloads, j.cacheKey)
	if old, ok := f.cache.readParts(j.cacheKey); ok && old.sameObject(fresh) {
		data, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			if info, err := data.Stat(); err == nil && info.Size() == j.size {
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

	mu    sync.Mutex
	parts partMap
}

func (d *partsDownload) run(ctx context.Context) error {
	f := d.fetcher
	f.watch.begin()
	waits := sync.OnceFunc(f.watch.end)
	defer waits()

	beside, bctx := errgroup.WithContext(ctx)
	bctx, complete := context.WithCancel(bctx)
	down, dctx := errgroup.WithContext(bctx)
	recorded := make(chan struct{}) // closed when all parts arrived
	next := newPartSignal()
	beside.Go(func() error { return d.record(bctx, recorded) })
	beside.Go(func() error { return d.verify(bctx, next) })
	defer complete()

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
	err := down.Wait()
	waits()
	if err == nil {
		close(recorded)
		err = beside.Wait()
	} else {
		complete()
		if other := beside.Wait(); other != nil && !errors.Is(other, context.Canceled) {
			err = other // which ended the downloads
		}
	}
	var end wire.End
	if errors.Is(err, errReplaced) || errors.As(err, &end) && end.Code == wire.CodeContentChecksum {
		err = errors.Join(err, f.cache.removePartial(d.job.cacheKey))
	}
	return err
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
			// So that little is left to write when all parts are here.
			_ = unix.SyncFileRange(int(d.data.Fd()), from, to-from, unix.SYNC_FILE_RANGE_WRITE)
			return nil
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
			if err := f.cache.write(ctx, io.NewOffsetWriter(d.data, from+done), buf[:n]); err != nil {
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
		return storage("write content", err)
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
