package content

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// wholeSize is up to which size an object is one request. It is checked while it
// arrives. A download of it that is killed starts again; a larger one continues.
const wholeSize = 16 << 20

func (f file) whole() bool { return f.size <= wholeSize }

// reserveFrom is from which size disk space is reserved before a download. For a smaller
// object that takes longer than to write it.
const reserveFrom = 1 << 20

// evictAtOnce is how much is evicted at least if the disk is full: to look for what to
// evict takes long where there are many files.
const evictAtOnce = 64 << 20

// buffers are for objects that are one request: most are much smaller than a buffer.
var (
	buffers      = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}
)

func buffer(size int64) (b []byte, free func()) {
	pool := &buffers
	if size <= 16<<10 {
		pool = &smallBuffers
	}
	p := pool.Get().(*[]byte)
	return *p, func() { pool.Put(p) }
}

// small downloads an object in one request, into downloads/, and verifies it. The caller
// holds the lock of its key.
func (f *fetcher) small(ctx context.Context, j job) (verified identity, err error) {
	data, err := f.create(ctx, j)
	if err != nil {
		return verified, err
	}
	f.meter.set(j, 0)
	if err = f.fill(ctx, j, data); err == nil {
		verified, err = finish(data, j.file)
	}
	if err = errors.Join(err, data.Close()); err != nil {
		return verified, errors.Join(err, f.cache.removePartial(j.cacheKey))
	}
	return verified, nil
}

// create makes the file of a download that starts.
func (f *fetcher) create(ctx context.Context, j job) (*os.File, error) {
	path := f.cache.path(downloads, j.cacheKey)
	for {
		var data *os.File
		f.creating.Lock()
		err := f.cache.withRoom(ctx, func() (err error) {
			data, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, unverified)
			return err
		})
		f.creating.Unlock()
		switch {
		case errors.Is(err, os.ErrExist): // what a killed one left
			if err := f.cache.removePartial(j.cacheKey); err != nil {
				return nil, storage("start a download", err)
			}
			continue
		case err != nil:
			return nil, storage("start a download", err)
		}
		if j.size < reserveFrom {
			return data, nil
		}
		if err := f.reserve(ctx, j, data); err != nil {
			data.Close()
			return nil, errors.Join(err, f.cache.removePartial(j.cacheKey))
		}
		return data, nil
	}
}

// reserve allocates the whole file at once. So a full disk is noticed before the
// download, and concurrent downloads see each other's size. If the disk is full, it
// evicts.
func (f *fetcher) reserve(ctx context.Context, j job, data *os.File) error {
	for {
		err := allocate(data, j.size)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENOSPC) {
			return storage("reserve disk space", err)
		}
		if evicted, err := f.cache.makeRoom(ctx, max(j.size, evictAtOnce)); err != nil || evicted == 0 {
			return failure(wire.CodeDiskFull, "%s has %s, which do not fit on the disk of the cache; free space, or use a larger disk", j.name(), megabytes(j.size))
		}
	}
}

// write writes all of b, and evicts if the disk is full.
func (c *cache) write(ctx context.Context, to io.Writer, b []byte) error {
	return c.withRoom(ctx, func() error {
		n, err := to.Write(b)
		b = b[n:]
		return err
	})
}

func allocate(data *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	err := unix.Fallocate(int(data.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = data.Truncate(size)
	}
	return err
}

// stream is an object that arrives in one piece.
type stream struct {
	fetcher *fetcher
	job     job
	to      io.Writer
	at      int64 // what has arrived
	sums    checksums
	hash    hash.Hash // nil until the first answer, or where nothing is known to check
	started bool
}

// fill downloads j into data, and verifies it.
func (f *fetcher) fill(ctx context.Context, j job, data *os.File) error {
	f.watch.begin()
	defer f.watch.end()
	s := &stream{fetcher: f, job: j, to: data}
	for try := 0; ; try++ {
		err := s.more(ctx)
		if err == nil {
			break
		}
		if errors.Is(err, errYield) {
			return err
		}
		if ctx.Err() == nil {
			f.watch.note(err)
		}
		if ctx.Err() != nil || !temporary(err) || try+1 >= triesPerPart && errors.Is(err, errShort) || !pause(ctx, try) {
			return f.failed(ctx, j.file, err)
		}
	}
	return j.check(s.sums, s.hash)
}

// failed makes the error of a download.
func (f *fetcher) failed(ctx context.Context, of file, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errStalled):
		err = f.watch.last()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return f.store.explain(of.name(), err)
}

// more makes one request, for what has not arrived.
func (s *stream) more(ctx context.Context) (err error) {
	f, j := s.fetcher, s.job
	if s.at >= j.size && s.started {
		return nil
	}
	if err := f.pace.begin(ctx); err != nil {
		return err
	}
	before := s.at
	defer func() { f.pace.end(s.at-before, err != nil && crowded(err)) }()
	if err := f.yield(); err != nil {
		return err
	}
	body, head, err := f.store.read(ctx, j.file, s.at, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	f.watch.reset() // an empty object has no bytes
	if !s.started {
		if s.job.etag == "" {
			s.job.etag = head.etag // what follows is of the same object
		}
		if head.size != j.size {
			return wrongSize(j.file, head.size)
		}
		s.started, s.sums = true, head.sums
		s.hash = j.hash(head.sums)
	}
	buf, free := buffer(j.size)
	defer free()
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if int64(n) > j.size-s.at {
				return fmt.Errorf("%w: it has more bytes than it should", errReplaced)
			}
			if err := f.cache.write(ctx, s.to, buf[:n]); err != nil {
				return storage("write content", err)
			}
			if s.hash != nil {
				s.hash.Write(buf[:n])
			}
			s.at += int64(n)
			f.watch.reset()
			f.meter.add(j, int64(n))
		}
		switch {
		case err == nil:
		case s.at == j.size:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			return short(err)
		}
	}
}

// short says that an answer ended too early. A broken connection has many errors, which
// all mean that bytes are missing.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", errShort, err)
}

// crowded reports whether a fault may come from too many requests.
func crowded(err error) bool {
	switch status(err) {
	case 0:
		return !errors.Is(err, context.Canceled) && !errors.Is(err, errReplaced) && !errors.Is(err, errYield)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusRequestTimeout:
		return true
	}
	return false
}
