package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

// source is one checked item of the job.
type source struct {
	bucket string
	key    string // ends with "/" or is empty where the source is a prefix
	dest   string // relative to the task directory, clean
	sha256 string // lower case, or empty
	// version is the store's id of a version of the object, or empty.
	version string
	// manifest is the sha256 of a manifest below the prefix, or empty.
	manifest string
}

func (s source) prefix() bool { return s.key == "" || strings.HasSuffix(s.key, "/") }

// file is one object and where it goes.
type file struct {
	bucket, key string
	version     string // the store's id of it; empty is the present one
	etag        string // empty if the store was not asked
	size        int64
	sums        checksums // nil if the store was not asked
	sha256      string
	exact       bool // a manifest gives the size: another one is an error
	executable  bool
	dest        string
	dir         bool // an empty "folder" object: only a directory to make
	cacheKey    string
}

func (f file) name() string { return "s3://" + f.bucket + "/" + f.key }

func (f file) versionID() *string {
	if f.version == "" {
		return nil
	}
	return &f.version
}

// mode is that of the file in the cache and of its links: nobody may write it.
func (f file) mode() os.FileMode {
	if f.executable {
		return 0o555
	}
	return 0o444
}

func parseSource(item wire.Content) (source, error) {
	rest, ok := strings.CutPrefix(item.Source, "s3://")
	bucket, key, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return source{}, failure(wire.CodeConfig, "content source %q is not allowed: it must be s3://bucket/key or s3://bucket/prefix/", item.Source)
	}
	src := source{bucket: bucket, key: key, sha256: strings.ToLower(item.SHA256), version: item.VersionID}
	if src.sha256 != "" {
		if sum, err := hex.DecodeString(src.sha256); err != nil || len(sum) != sha256.Size {
			return source{}, failure(wire.CodeConfig, "the sha256 of content %q must be 64 hex digits", item.Source)
		}
		if src.prefix() {
			return source{}, failure(wire.CodeConfig, "content %q is a prefix and cannot have a sha256; list its objects one by one, or remove the sha256", item.Source)
		}
	}
	if src.version != "" && src.prefix() {
		return source{}, failure(wire.CodeConfig, "content %q is a prefix and cannot have a version_id; name one object, or a manifest", item.Source)
	}
	if item.Manifest != "" {
		var err error
		if src.manifest, err = wire.ManifestSum(item.Manifest); err != nil || !src.prefix() || src.key == "" {
			return source{}, failure(wire.CodeConfig, "the manifest %q of content %q must be sha256: and 64 hex digits, and the source a prefix, as nearcast app publish prints them", item.Manifest, item.Source)
		}
	}
	dest := item.Destination
	if strings.HasSuffix(dest, "/") && !src.prefix() {
		dest += path.Base(key)
	}
	if dest == "" && src.prefix() {
		dest = "."
	}
	var err error
	src.dest, err = inside(dest, item.Destination)
	if err == nil && src.dest == "." && !src.prefix() {
		err = failure(wire.CodeConfig, "content %q has no destination; name a file under the task directory", item.Source)
	}
	if err == nil {
		err = foreign(src.dest)
	}
	return src, err
}

// foreign refuses a path below a directory that other tasks and Nomad own. The driver
// refuses it as a destination, but does not know what is below a prefix.
func foreign(path string) error {
	top, _, _ := strings.Cut(path, "/")
	if top == "secrets" || top == "alloc" {
		return failure(wire.CodeConfig, "content destination %q is below %s/, which other tasks and Nomad own; give another path, such as local/", path, top)
	}
	return nil
}

// inside cleans dest and refuses a path that leaves the task directory. A path that
// leaves it by a symbolic link is refused later, by taskDir.
func inside(dest, original string) (string, error) {
	clean := filepath.Clean(dest)
	if !filepath.IsLocal(dest) || strings.ContainsRune(dest, 0) {
		return "", failure(wire.CodeConfig, "content destination %q leaves the task directory; give a relative path below it", original)
	}
	return clean, nil
}

// sourcesAtOnce is how many sources are asked for at once.
const sourcesAtOnce = 16

// resolveAll lists the files of each source.
func resolveAll(ctx context.Context, cache *cache, store *store, sources []source) ([][]file, error) {
	each := make([][]file, len(sources))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(sourcesAtOnce)
	for i, src := range sources {
		group.Go(func() (err error) {
			each[i], err = resolve(gctx, cache, store, src)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return each, nil
}

// resolve lists the files of a source. A single cached object with a known sha256 or
// version needs no request to the store, and neither does a cached manifest.
func resolve(ctx context.Context, cache *cache, store *store, src source) ([]file, error) {
	if src.manifest != "" {
		return resolveManifest(ctx, cache, store, src)
	}
	if !src.prefix() {
		f := file{bucket: src.bucket, key: src.key, dest: src.dest, sha256: src.sha256, version: src.version}
		if src.sha256 != "" || src.version != "" {
			f.cacheKey = store.cacheKey(f)
			if size, ok := cache.size(f.cacheKey); ok {
				f.size = size
				return []file{f}, nil
			}
		}
		head, err := store.head(ctx, f)
		if err != nil {
			return nil, err
		}
		if src.version != "" && head.version != src.version {
			return nil, failure(wire.CodeContentStore, "%s: the store answers with version %q where version_id is %q: it keeps no versions; name a manifest or a sha256 instead", f.name(), head.version, src.version)
		}
		f.etag, f.size, f.sums = head.etag, head.size, head.sums
		f.cacheKey = store.cacheKey(f)
		return []file{f}, nil
	}

	objects, err := store.list(ctx, src.bucket, src.key)
	if err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		return nil, failure(wire.CodeContentMissing, "there is no object below s3://%s/%s; upload the content, or correct the source", src.bucket, src.key)
	}
	files := make([]file, 0, len(objects))
	for _, o := range objects {
		f := o
		relative := strings.TrimPrefix(o.key, src.key)
		if relative == "" {
			continue // the prefix's own "folder" object
		}
		// A key may contain "..": keys are data from the store, and not trusted.
		if f.dest, err = inside(relative, relative); err != nil {
			return nil, fmt.Errorf("object %s: %w", o.name(), err)
		}
		f.dest = filepath.Join(src.dest, f.dest)
		if err := foreign(f.dest); err != nil {
			return nil, fmt.Errorf("object %s: %w", o.name(), err)
		}
		f.dir = strings.HasSuffix(relative, "/")
		f.cacheKey = store.cacheKey(f)
		files = append(files, f)
	}
	return files, nil
}

// cacheKey names f in the cache: by its sha256 if that is known, else by everything
// that distinguishes this version of the object from any other.
func (s *store) cacheKey(f file) string {
	switch {
	case f.sha256 != "" && f.executable:
		return "sha256-" + f.sha256 + "-x" // a mode is one of all links
	case f.sha256 != "":
		return "sha256-" + f.sha256
	case f.version != "":
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s", s.settings.Endpoint, f.bucket, f.key, f.version))
		return "version-" + hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%s\x00%d", s.settings.Endpoint, f.bucket, f.key, f.etag, f.size))
	return "etag-" + hex.EncodeToString(sum[:])
}
