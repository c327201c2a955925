package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// download downloads f into the cache. The caller holds the lock of its key.
func download(ctx context.Context, c *cache, s *store, f file, meter *meter) error {
	// A listing gives size and ETag. Only HEAD gives the checksums.
	h, err := s.head(ctx, f)
	if err != nil {
		return err
	}
	if f.sha256 == "" && (h.etag != f.etag || h.size != f.size) {
		return fmt.Errorf("%s changed since it was listed: %w", f.name(), errReplaced)
	}
	f.etag, f.size = h.etag, h.size

	parts, data, err := openPartial(ctx, c, f)
	if err != nil {
		return err
	}
	defer data.Close()
	meter.set(f, parts.bytes())

	if err := fetchParts(ctx, c, s, f, parts, data, meter); err != nil {
		if errors.Is(err, errReplaced) {
			err = errors.Join(err, c.removePartial(f.cacheKey))
		}
		return err
	}
	if err := verify(f, h.sums, data); err != nil {
		return errors.Join(err, c.removePartial(f.cacheKey))
	}
	return publish(c, f, data)
}

// openPartial continues an earlier download of the same object, or starts one and
// reserves its disk space.
func openPartial(ctx context.Context, c *cache, f file) (partMap, *os.File, error) {
	fresh := partMap{Bucket: f.bucket, Key: f.key, ETag: f.etag, Size: f.size, PartSize: partSize}
	fresh.Done = make([]byte, (fresh.parts()+7)/8)
	path := c.path("partial", f.cacheKey)

	if old, ok := c.readParts(f.cacheKey); ok && old.sameObject(fresh) {
		data, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			if info, err := data.Stat(); err == nil && info.Size() == f.size {
				return old, data, nil
			}
			data.Close()
		}
	}

	if err := c.removePartial(f.cacheKey); err != nil {
		return fresh, nil, storage("start a download", err)
	}
	if _, err := c.makeRoom(ctx, f.cacheKey, f.size, false); err != nil {
		return fresh, nil, err
	}
	data, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fresh, nil, storage("start a download", err)
	}
	for {
		err := reserve(data, f.size)
		if err == nil {
			return fresh, data, nil
		}
		if errors.Is(err, unix.ENOSPC) {
			if evicted, roomErr := c.makeRoom(ctx, f.cacheKey, f.size, true); roomErr == nil && evicted > 0 {
				continue
			}
			err = failure(wire.CodeDiskFull, "%s has %s, which do not fit on the disk of the cache; free space, or use a larger disk", f.name(), megabytes(f.size))
		} else {
			err = storage("reserve disk space", err)
		}
		data.Close()
		return fresh, nil, errors.Join(err, c.removePartial(f.cacheKey))
	}
}

// reserve allocates the whole file at once. So a full disk is noticed before the
// download, and concurrent downloads see each other's size.
func reserve(data *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	err := unix.Fallocate(int(data.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = data.Truncate(size)
	}
	return err
}

func fetchParts(ctx context.Context, c *cache, s *store, f file, parts partMap, data *os.File, meter *meter) error {
	watched, watch := newWatchdog(ctx, s.patience)
	defer watch.stop()

	var missing []int
	for i := range parts.parts() {
		if !parts.has(i) {
			missing = append(missing, i)
		}
	}
	var mu sync.Mutex // guards parts
	group, gctx := errgroup.WithContext(watched)
	group.SetLimit(partsAtOnce)
	for _, i := range missing {
		from, to := parts.bounds(i)
		group.Go(func() error {
			if err := fetchPart(gctx, s, f, data, from, to, func(n int) {
				watch.reset()
				meter.add(f, int64(n), true)
			}); err != nil {
				return err
			}
			if err := unix.Fdatasync(int(data.Fd())); err != nil {
				return storage("write content", err)
			}
			mu.Lock()
			defer mu.Unlock()
			next := parts
			next.Done = append([]byte(nil), parts.Done...)
			next.set(i)
			if err := c.writeParts(f.cacheKey, next); err != nil {
				return err
			}
			parts.set(i)
			return nil
		})
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && errors.Is(context.Cause(watched), errStalled) {
		if last := watch.last(); last != nil {
			err = last
		} else {
			err = fmt.Errorf("it sent no byte for %v", s.patience)
		}
	}
	if err != nil {
		return s.explain(f.name(), err)
	}
	return nil
}

// fetchPart downloads bytes from..to (exclusive). After a fault, it continues
// inside the part.
func fetchPart(ctx context.Context, s *store, f file, data *os.File, from, to int64, got func(int)) error {
	watch := watchdogOf(ctx)
	for try := 0; ; try++ {
		n, err := copyRange(ctx, s, f, data, from, to, got)
		from += n
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		watch.note(err)
		if !temporary(err) || try+1 >= triesPerPart && errors.Is(err, errShort) || !pause(ctx, try) {
			return err
		}
	}
}

func copyRange(ctx context.Context, s *store, f file, data *os.File, from, to int64, got func(int)) (done int64, err error) {
	body, err := s.read(ctx, f, from, to-1)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	buf := make([]byte, 128<<10)
	for from+done < to {
		n, err := body.Read(buf[:min(int64(len(buf)), to-from-done)])
		if n > 0 {
			if _, err := data.WriteAt(buf[:n], from+done); err != nil {
				return done, storage("write content", err)
			}
			done += int64(n)
			got(n)
		}
		if err == nil || from+done == to {
			continue
		}
		if ctx.Err() != nil {
			return done, ctx.Err()
		}
		// A broken connection has many errors. They all mean that bytes are missing.
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return done, fmt.Errorf("%w: %w", errShort, err)
	}
	return done, nil
}

// publish gives a verified download its name in the cache. It does not use
// renameio, which writes a new file: this file is complete and only moves.
func publish(c *cache, f file, data *os.File) error {
	if err := data.Chmod(0o444); err != nil {
		return storage("keep content", err)
	}
	if err := data.Sync(); err != nil {
		return storage("keep content", err)
	}
	if err := os.Rename(data.Name(), c.path("objects", f.cacheKey)); err != nil {
		return storage("keep content", err)
	}
	if err := syncDir(c.path("objects")); err != nil {
		return storage("keep content", err)
	}
	if err := c.remove("partial", f.cacheKey+partsSuffix); err != nil {
		return storage("keep content", err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
