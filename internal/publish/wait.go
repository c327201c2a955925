package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// lookEvery is how often a site is asked.
	lookEvery = 5 * time.Second
	// listFrom is from how many missing objects a site's are listed, and not asked for each.
	listFrom   = 200
	asksAtOnce = 16
	// named is how many missing objects an error names.
	named = 5
)

// Site is where a copy is to come, by the replication of buckets.
type Site struct {
	Name string
	Store
}

// Copy is what a site has of a version.
type Copy struct {
	Site string
	// Present and Total count the objects, with the manifest.
	Present, Total int
	// Missing names some that are not there, or not whole.
	Missing []string
	// Err is why the site could not be asked; it is asked again.
	Err error
}

func (c Copy) done() bool { return c.Err == nil && c.Present == c.Total }

// Wait returns when all sites have all objects of a version that was published to from,
// each with the right size. look is called for a site when it was asked. If ctx ends
// first, the error says what is missing where.
func Wait(ctx context.Context, manifest string, from Store, sites []Site, every time.Duration, look func(Copy)) error {
	if every == 0 {
		every = lookEvery
	}
	want, err := objectsOf(ctx, manifest, from)
	if err != nil {
		return err
	}
	copies := make([]Copy, len(sites))
	var group sync.WaitGroup // each site is waited for, also where another fails
	for i, site := range sites {
		group.Go(func() {
			missing := want
			var client *s3.Client
			for {
				var err error
				if client == nil {
					client, err = site.open(ctx)
				}
				if err == nil {
					missing, err = site.missing(ctx, client, missing)
				}
				c := Copy{Site: site.Name, Present: len(want) - len(missing), Total: len(want), Err: err}
				for _, o := range missing[:min(named, len(missing))] {
					c.Missing = append(c.Missing, "s3://"+site.Bucket+"/"+site.Prefix+o.key)
				}
				if ctx.Err() != nil && copies[i].Total > 0 {
					c = copies[i] // what was seen before
				}
				copies[i] = c
				if look != nil && ctx.Err() == nil {
					look(c)
				}
				if c.done() {
					return
				}
				timer := time.NewTimer(every)
				select {
				case <-ctx.Done():
					timer.Stop()
					return
				case <-timer.C:
				}
			}
		})
	}
	group.Wait()
	var errs []error
	for _, c := range copies {
		switch {
		case c.done():
		case c.Err != nil:
			errs = append(errs, fmt.Errorf("site %s cannot be asked: %w", c.Site, c.Err))
		default:
			more := ""
			if n := c.Total - c.Present - len(c.Missing); n > 0 {
				more = fmt.Sprintf(" and %d more", n)
			}
			errs = append(errs, fmt.Errorf("site %s lacks %d of %d objects: %s%s", c.Site, c.Total-c.Present, c.Total, strings.Join(c.Missing, ", "), more))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New("look at the replication of the bucket, and publish again: what is there is not uploaded twice"))
	}
	return errors.Join(errs...)
}

// object is one that a copy has.
type object struct {
	key  string // below the prefix
	size int64
}

// objectsOf reads the manifest, from where it was published.
func objectsOf(ctx context.Context, manifest string, from Store) ([]object, error) {
	client, err := from.open(ctx)
	if err != nil {
		return nil, err
	}
	key := from.Prefix + wire.ManifestKey(manifest)
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &from.Bucket, Key: &key})
	if err != nil {
		return nil, fmt.Errorf("read s3://%s/%s: %w", from.Bucket, key, err)
	}
	defer out.Body.Close()
	text, err := io.ReadAll(io.LimitReader(out.Body, wire.MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read s3://%s/%s: %w", from.Bucket, key, err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != manifest {
		return nil, fmt.Errorf("s3://%s/%s has not the sha256 of its name: delete it, and publish again", from.Bucket, key)
	}
	m, err := wire.ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("s3://%s/%s: %w", from.Bucket, key, err)
	}
	var objects []object
	twice := map[string]bool{}
	for _, f := range m.Files {
		if !twice[f.SHA256] {
			twice[f.SHA256] = true
			objects = append(objects, object{wire.ObjectKey(f.SHA256), f.Size})
		}
	}
	return append(objects, object{wire.ManifestKey(manifest), int64(len(text))}), nil
}

// missing says which objects the site does not have whole.
func (s Site) missing(ctx context.Context, client *s3.Client, want []object) ([]object, error) {
	if len(want) >= listFrom {
		return s.missingInList(ctx, client, want)
	}
	here := make([]bool, len(want))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(asksAtOnce)
	for i, o := range want {
		group.Go(func() error {
			key := s.Prefix + o.key
			out, err := client.HeadObject(gctx, &s3.HeadObjectInput{Bucket: &s.Bucket, Key: &key})
			var answer *awshttp.ResponseError
			if errors.As(err, &answer) && answer.HTTPStatusCode() == 404 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("look for s3://%s/%s: %w", s.Bucket, key, err)
			}
			here[i] = aws.ToInt64(out.ContentLength) == o.size
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return want, err
	}
	var missing []object
	for i, o := range want {
		if !here[i] {
			missing = append(missing, o)
		}
	}
	return missing, nil
}

func (s Site) missingInList(ctx context.Context, client *s3.Client, want []object) ([]object, error) {
	there := map[string]int64{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &s.Prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return want, fmt.Errorf("list s3://%s/%s: %w", s.Bucket, s.Prefix, err)
		}
		for _, o := range page.Contents {
			there[aws.ToString(o.Key)] = aws.ToInt64(o.Size)
		}
	}
	return slices.DeleteFunc(slices.Clone(want), func(o object) bool {
		size, ok := there[s.Prefix+o.key]
		return ok && size == o.size
	}), nil
}
