package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/wire"
)

// resolveManifest lists the files of a manifest. A manifest is an object of the cache too,
// so that a node which has all of it asks the store nothing.
func resolveManifest(ctx context.Context, cache *cache, store *store, src source) ([]file, error) {
	own := file{bucket: src.bucket, key: src.key + wire.ManifestKey(src.manifest), sha256: src.manifest}
	own.cacheKey = store.cacheKey(own)
	text, ok, err := cache.manifest(own)
	if err != nil {
		return nil, err
	}
	if !ok {
		if text, err = store.manifest(ctx, own); err != nil {
			return nil, err
		}
		if err := cache.keep(ctx, own, text); err != nil {
			return nil, err
		}
	}
	m, err := wire.ParseManifest(text)
	if err != nil {
		return nil, failure(wire.CodeConfig, "%s: %v; publish it again", own.name(), err)
	}
	own.size = int64(len(text))
	files := make([]file, 0, len(m.Files)+1)
	// With no destination: it stays in the cache as long as its files.
	files = append(files, own)
	for _, in := range m.Files {
		f := file{
			bucket: src.bucket, key: src.key + wire.ObjectKey(in.SHA256), size: in.Size, sha256: in.SHA256,
			exact: true, executable: in.Mode == wire.ModeProgram,
		}
		// The manifest is data from the store, and not trusted.
		if f.dest, err = inside(in.Path, in.Path); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", own.name(), err)
		}
		f.dest = filepath.Join(src.dest, f.dest)
		if err := foreign(f.dest); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", own.name(), err)
		}
		f.cacheKey = store.cacheKey(f)
		files = append(files, f)
	}
	return files, nil
}

// manifest reads a manifest that is in the cache. The object may be any that a job named.
func (c *cache) manifest(f file) (text []byte, ok bool, err error) {
	in, err := os.Open(c.path("objects", f.cacheKey))
	if err != nil {
		return nil, false, nil // the store has it
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, false, storage("read the cache", err)
	}
	if info.Size() > wire.MaxManifest {
		return nil, false, tooLarge(f)
	}
	text = make([]byte, info.Size())
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, false, storage("read the cache", err)
	}
	return text, true, nil
}

func tooLarge(f file) error {
	return failure(wire.CodeConfig, "%s is larger than a manifest may be (%s)", f.name(), megabytes(wire.MaxManifest))
}

// manifest reads a manifest whole, and verifies it.
func (s *store) manifest(ctx context.Context, f file) ([]byte, error) {
	var text []byte
	err := s.retry(ctx, f.name(), func(ctx context.Context, client *s3.Client) error {
		out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: &f.key})
		if err != nil {
			return err
		}
		defer out.Body.Close()
		if text, err = io.ReadAll(io.LimitReader(out.Body, wire.MaxManifest+1)); err != nil {
			return short(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(text) > wire.MaxManifest {
		return nil, tooLarge(f)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != f.sha256 {
		return nil, failure(wire.CodeContentChecksum, "%s has sha256 %x, which differs from the job's; publish it again, or correct the job", f.name(), sum)
	}
	return text, nil
}

// keep puts a verified object that is in memory into the cache.
func (c *cache) keep(ctx context.Context, f file, data []byte) error {
	locks, err := c.openKeyLocks()
	if err != nil {
		return err
	}
	defer locks.close()
	if _, err := locks.lock(ctx, f.cacheKey, nil); err != nil {
		return err
	}
	if _, ok := c.size(f.cacheKey); ok {
		return nil
	}
	// What a killed one left. A file that is new is no other's.
	if err := c.removePartial(f.cacheKey); err != nil {
		return storage("keep content", err)
	}
	verified, err := c.writeWhole(ctx, f, data)
	if err != nil {
		return errors.Join(err, c.removePartial(f.cacheKey))
	}
	if err := c.keepVerified(f.cacheKey, verified); err != nil {
		return err
	}
	if err := syncDir(c.path("objects")); err != nil {
		return storage("keep content", err)
	}
	return nil
}

func (c *cache) writeWhole(ctx context.Context, f file, data []byte) (verified identity, err error) {
	var to *os.File
	if err := c.withRoom(ctx, func() (err error) {
		to, err = os.OpenFile(c.path(downloads, f.cacheKey), os.O_WRONLY|os.O_CREATE|os.O_EXCL, unverified)
		return err
	}); err != nil {
		return verified, storage("keep content", err)
	}
	defer to.Close()
	if err := errors.Join(c.write(ctx, to, data), to.Sync()); err != nil {
		return verified, storage("keep content", err)
	}
	return finish(to, f)
}
