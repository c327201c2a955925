package content

import (
	"bytes"
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
	text, err := os.ReadFile(cache.path("objects", own.cacheKey))
	if err != nil {
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
			executable: in.Mode == wire.ModeProgram,
		}
		// The manifest is data from the store, and not trusted.
		if f.dest, err = inside(in.Path, in.Path); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", own.name(), err)
		}
		f.dest = filepath.Join(src.dest, f.dest)
		f.cacheKey = store.cacheKey(f)
		files = append(files, f)
	}
	return files, nil
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
		return nil, failure(wire.CodeConfig, "%s is larger than a manifest may be (%s)", f.name(), megabytes(wire.MaxManifest))
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != f.sha256 {
		return nil, failure(wire.CodeContentChecksum, "%s has sha256 %x, which differs from the job's; publish it again, or correct the job", f.name(), sum)
	}
	return text, nil
}

// keep puts a verified object that is in memory into the cache.
func (c *cache) keep(ctx context.Context, f file, data []byte) error {
	unlock, err := c.lockKey(ctx, f.cacheKey, nil)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := c.has(f.cacheKey); ok {
		return nil
	}
	path := c.path("partial", f.cacheKey)
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return storage("keep content", err)
	}
	_, err = io.Copy(to, bytes.NewReader(data))
	if err := errors.Join(err, to.Chmod(f.mode()), to.Sync(), to.Close()); err != nil {
		return errors.Join(storage("keep content", err), c.removePartial(f.cacheKey))
	}
	if err := os.Rename(path, c.path("objects", f.cacheKey)); err != nil {
		return storage("keep content", err)
	}
	if err := syncDir(c.path("objects")); err != nil {
		return storage("keep content", err)
	}
	return nil
}
