package content

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// listsAtOnce is how many folders of a prefix are listed at once.
	listsAtOnce = 16
	// maxFolders is how many folders a prefix may have, so that they are: each is a request
	// at least, and a page in order brings a thousand objects.
	maxFolders = 256
	// maxDepth is how many folders of which each has only the next are gone through.
	maxDepth = 8
)

// list lists the objects below a prefix. A page has a thousand, and each names the next. So
// where there are more, the folders are listed beside each other.
func (s *store) list(ctx context.Context, bucket, prefix string) ([]file, error) {
	first, err := s.page(ctx, bucket, prefix, "", nil)
	if err != nil {
		return nil, err
	}
	if !aws.ToBool(first.IsTruncated) {
		return filesOf(bucket, first), nil
	}
	files, folders, err := s.folders(ctx, bucket, prefix)
	if err != nil {
		return nil, err
	}
	if len(folders) == 0 {
		rest, err := s.pages(ctx, bucket, prefix, first.NextContinuationToken)
		return append(filesOf(bucket, first), rest...), err
	}
	each := make([][]file, len(folders))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(listsAtOnce)
	for i, folder := range folders {
		group.Go(func() (err error) {
			each[i], err = s.pages(gctx, bucket, folder, nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	files = append(files, slices.Concat(each...)...)
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.key, b.key) })
	return files, nil
}

// folders gives the folders below a prefix, and the objects that are in none of them. There
// are none where it has too many.
func (s *store) folders(ctx context.Context, bucket, prefix string) (files []file, folders []string, err error) {
	for range maxDepth {
		out, err := s.page(ctx, bucket, prefix, "/", nil)
		if err != nil || aws.ToBool(out.IsTruncated) || len(out.CommonPrefixes) > maxFolders {
			return nil, nil, err
		}
		files, folders = append(files, filesOf(bucket, out)...), nil
		for _, p := range out.CommonPrefixes {
			folders = append(folders, aws.ToString(p.Prefix))
		}
		if len(folders) != 1 {
			break
		}
		prefix = folders[0]
	}
	return files, folders, nil
}

// pages lists what is below a prefix in order, from a page on.
func (s *store) pages(ctx context.Context, bucket, prefix string, token *string) (files []file, err error) {
	for {
		out, err := s.page(ctx, bucket, prefix, "", token)
		if err != nil {
			return nil, err
		}
		files = append(files, filesOf(bucket, out)...)
		if !aws.ToBool(out.IsTruncated) {
			return files, nil
		}
		next := aws.ToString(out.NextContinuationToken)
		if next == "" || next == aws.ToString(token) {
			return nil, failure(wire.CodeContentStore, "s3://%s/%s: the store lists more than one page, and does not say where the next one begins: it does not know ListObjectsV2; name a manifest instead", bucket, prefix)
		}
		token = &next
	}
}

func (s *store) page(ctx context.Context, bucket, prefix, delimiter string, token *string) (out *s3.ListObjectsV2Output, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, ContinuationToken: token}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	err = s.retry(ctx, "s3://"+bucket+"/"+prefix, func(ctx context.Context, client *s3.Client) (err error) {
		out, err = client.ListObjectsV2(ctx, in)
		return err
	})
	return out, err
}

func filesOf(bucket string, page *s3.ListObjectsV2Output) []file {
	files := make([]file, len(page.Contents))
	for i, o := range page.Contents {
		files[i] = file{bucket: bucket, key: aws.ToString(o.Key), etag: strong(aws.ToString(o.ETag)), size: aws.ToInt64(o.Size)}
	}
	return files
}

// strong is an ETag as a store has it in headers. Some stores list them without quotes, and some proxies put W/ in
// front: in the answers of some requests, and not of others. If-Match with W/ matches nothing.
func strong(etag string) string {
	etag = strings.TrimPrefix(etag, "W/")
	if etag == "" || strings.HasSuffix(etag, `"`) {
		return etag
	}
	return `"` + etag + `"`
}
