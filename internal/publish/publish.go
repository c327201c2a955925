// Package publish uploads the files of an app to an object store as one version, which a
// job names by the sha256 of its manifest:
//
//	v, err := publish.Dir(ctx, "./build", publish.Store{Bucket: "content", Prefix: "game/"})
//	// the job: content { source = "s3://content/game/", manifest = "sha256:" + v.Manifest … }
//
// Each file is an object named by the sha256 of its bytes (wire.ObjectKey), and is uploaded
// once, whatever versions have it. The manifest (wire.Manifest) is uploaded last: where it
// is, all its files are. An upload that was interrupted goes on where it stopped, file by
// file. A file that changes meanwhile is an error.
//
// Wait waits until the copies of the version are at other sites.
package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// uploadsAtOnce is how many files are uploaded at once.
	uploadsAtOnce = 32
	// largeAtOnce is how many of those that are uploaded in parts, a few parts at once:
	// each part is in memory.
	largeAtOnce = 4
	// largeSize is from which size a file is uploaded in parts.
	largeSize = 16 << 20
)

// Store is where to publish.
type Store struct {
	Bucket string
	Prefix string // ends with "/"
	// Endpoint is the URL of a store that is not AWS, with buckets in the path.
	Endpoint string
	Region   string
	// Progress is called for each file, by one goroutine at a time. It may be nil.
	Progress func(Progress)
}

// Progress counts files, and bytes that were uploaded. Files that are there already count
// as done, and have no bytes.
type Progress struct {
	Done, Total           int
	DoneBytes, TotalBytes int64
}

// Version is what was published.
type Version struct {
	Manifest string // hex sha256
	Files    int
	Bytes    int64
	Present  int // files whose bytes were in the store already
}

// Dir publishes all files below dir.
func Dir(ctx context.Context, dir string, to Store) (Version, error) {
	client, err := to.open(ctx)
	if err != nil {
		return Version{}, err
	}
	root, err := os.OpenRoot(dir) // a link leads to nothing outside
	if err != nil {
		return Version{}, err
	}
	defer root.Close()
	files, err := scan(ctx, root)
	if err != nil {
		return Version{}, err
	}
	text, sum, err := wire.NewManifest(files)
	if err != nil {
		return Version{}, err
	}
	u := &upload{to: to, client: client, transfers: transfermanager.New(client), root: root}
	if u.present, err = u.list(ctx); err != nil {
		return Version{}, err
	}
	v := Version{Manifest: sum, Files: len(files)}
	todo := map[string]wire.ManifestFile{}
	for _, f := range files {
		v.Bytes += f.Size
		if size, ok := u.present[f.SHA256]; ok && size == f.Size {
			v.Present++
		} else if _, twice := todo[f.SHA256]; !twice {
			todo[f.SHA256] = f
			u.progress.TotalBytes += f.Size
		}
	}
	u.progress.Total = len(todo)
	var large, small []wire.ManifestFile
	for _, f := range todo {
		if f.Size >= largeSize {
			large = append(large, f)
		} else {
			small = append(small, f)
		}
	}
	if err := u.files(ctx, large, largeAtOnce); err != nil {
		return v, err
	}
	if err := u.files(ctx, small, uploadsAtOnce); err != nil {
		return v, err
	}
	return v, u.put(ctx, wire.ManifestKey(sum), bytes.NewReader(text), int64(len(text)))
}

func (s Store) open(ctx context.Context) (*s3.Client, error) {
	var options []func(*config.LoadOptions) error
	if s.Region != "" {
		options = append(options, config.WithRegion(s.Region))
	}
	settings, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("set up the object store: %w", err)
	}
	return s3.NewFromConfig(settings, func(o *s3.Options) {
		if s.Endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(s.Endpoint), true
		}
		if o.Region == "" {
			o.Region = "us-east-1"
		}
	}), nil
}

// scan hashes all files below root.
func scan(ctx context.Context, root *os.Root) ([]wire.ManifestFile, error) {
	var paths []string
	// By the root, not by its name, which may be a link.
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		paths = append(paths, filepath.FromSlash(path))
		return nil
	})
	if err != nil {
		return nil, err
	}
	files := make([]wire.ManifestFile, len(paths))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range paths {
		group.Go(func() (err error) {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			files[i], err = describe(root, path)
			return err
		})
	}
	return files, group.Wait()
}

func describe(root *os.Root, path string) (wire.ManifestFile, error) {
	// A pipe would block an open.
	info, err := root.Stat(path)
	if err != nil {
		return wire.ManifestFile{}, err
	}
	if !info.Mode().IsRegular() {
		return wire.ManifestFile{}, fmt.Errorf("%s is no file, and no link to one: it cannot be published", path)
	}
	in, err := root.Open(path)
	if err != nil {
		return wire.ManifestFile{}, err
	}
	defer in.Close()
	h := sha256.New()
	size, err := io.Copy(h, in)
	if err != nil {
		return wire.ManifestFile{}, err
	}
	f := wire.ManifestFile{Path: filepath.ToSlash(path), Size: size, SHA256: hex.EncodeToString(h.Sum(nil))}
	if info.Mode()&0o111 != 0 {
		f.Mode = wire.ModeProgram
	}
	return f, nil
}

// upload uploads the files of one version.
type upload struct {
	to        Store
	client    *s3.Client
	transfers *transfermanager.Client
	root      *os.Root
	present   map[string]int64 // size of each object that is there, by its sha256

	mu       sync.Mutex
	progress Progress
}

// list finds the objects that are there.
func (u *upload) list(ctx context.Context) (map[string]int64, error) {
	there := map[string]int64{}
	prefix := u.to.Prefix + "objects/"
	pages := s3.NewListObjectsV2Paginator(u.client, &s3.ListObjectsV2Input{Bucket: &u.to.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list s3://%s/%s: %w", u.to.Bucket, prefix, err)
		}
		for _, o := range page.Contents {
			there[filepath.Base(aws.ToString(o.Key))] = aws.ToInt64(o.Size)
		}
	}
	return there, nil
}

// files uploads files, so many at once.
func (u *upload) files(ctx context.Context, files []wire.ManifestFile, atOnce int) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, f := range files {
		if gctx.Err() != nil {
			break
		}
		group.Go(func() error { return u.file(gctx, f) })
	}
	return group.Wait()
}

func (u *upload) file(ctx context.Context, f wire.ManifestFile) error {
	in, err := u.root.Open(filepath.FromSlash(f.Path))
	if err != nil {
		return err
	}
	defer in.Close()
	body := &checked{in: in, want: f, hash: sha256.New()}
	if err := u.put(ctx, wire.ObjectKey(f.SHA256), body, f.Size); err != nil {
		return fmt.Errorf("upload %s: %w", f.Path, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress.Done++
	u.progress.DoneBytes += f.Size
	if u.to.Progress != nil {
		u.to.Progress(u.progress)
	}
	return nil
}

// put uploads size bytes. From the size follows the size of the parts.
func (u *upload) put(ctx context.Context, key string, body io.Reader, size int64) error {
	key = u.to.Prefix + key
	_, err := u.transfers.UploadObject(ctx, &transfermanager.UploadObjectInput{
		Bucket: &u.to.Bucket, Key: &key, Body: body, ContentLength: &size,
	})
	return err
}

// checked reads a file. In place of its end it has an error if the bytes are not those that
// the object is named by: then the upload is never completed, and no object of that name is
// wrong for a moment, or for ever where the credentials may not delete.
type checked struct {
	in   io.Reader
	want wire.ManifestFile
	hash hash.Hash
	size int64
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.hash.Write(b[:n])
	c.size += int64(n)
	if c.size > c.want.Size || err == io.EOF && hex.EncodeToString(c.hash.Sum(nil)) != c.want.SHA256 {
		return 0, fmt.Errorf("%s changed while it was published: publish again", c.want.Path)
	}
	return n, err
}
