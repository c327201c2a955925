package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/nearcast/nearcast/internal/wire"
)

var (
	// errReplaced: the object is not the one that HEAD described.
	errReplaced = errors.New("object was replaced while it was read")
	// errShort: the response ended too early.
	errShort = errors.New("response ended too early")
)

// store is the object store. Its SDK client is made at the first request, so that
// a seat whose content is cached needs neither store nor credentials.
type store struct {
	settings wire.S3
	patience time.Duration

	once   sync.Once
	client *s3.Client
	err    error
}

func (s *store) open(ctx context.Context) (*s3.Client, error) {
	s.once.Do(func() {
		options := []func(*config.LoadOptions) error{
			// This package retries, not the SDK: an interrupted part must continue
			// where it stopped, and only one of them should decide how long to try.
			config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
			// The SDK's own client type, because only that supports AWS_CA_BUNDLE.
			config.WithHTTPClient(awshttp.NewBuildableClient().
				WithDialerOptions(func(d *net.Dialer) { d.Timeout = 5 * time.Second }).
				WithTransportOptions(func(t *http.Transport) {
					t.TLSHandshakeTimeout = 5 * time.Second
					t.ResponseHeaderTimeout = 15 * time.Second
					t.MaxIdleConnsPerHost = filesAtOnce * partsAtOnce
					t.IdleConnTimeout = 10 * time.Second
				})),
		}
		if s.settings.Region != "" {
			options = append(options, config.WithRegion(s.settings.Region))
		}
		settings, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			s.err = failure(wire.CodeConfig, "set up the object store: %v", err)
			return
		}
		s.client = s3.NewFromConfig(settings, func(o *s3.Options) {
			o.UsePathStyle = s.settings.PathStyle
			if s.settings.Endpoint != "" {
				o.BaseEndpoint = aws.String(s.settings.Endpoint)
			}
			if o.Region == "" {
				o.Region = "us-east-1"
			}
			// This package verifies whole objects. The checksum of a whole object
			// does not match a range of it.
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		})
	})
	return s.client, s.err
}

// head is what the store knows about an object.
type head struct {
	etag string
	size int64
	sums checksums
}

func (s *store) head(ctx context.Context, f file) (head, error) {
	var out *s3.HeadObjectOutput
	err := s.retry(ctx, f.name(), func(ctx context.Context, client *s3.Client) error {
		var err error
		out, err = client.HeadObject(ctx, &s3.HeadObjectInput{
			Bucket: &f.bucket, Key: &f.key, ChecksumMode: types.ChecksumModeEnabled,
		})
		return err
	})
	if err != nil {
		return head{}, err
	}
	return head{
		etag: aws.ToString(out.ETag), size: aws.ToInt64(out.ContentLength),
		sums: checksumsOf(out),
	}, nil
}

func (s *store) list(ctx context.Context, bucket, prefix string) ([]file, error) {
	var files []file
	var token *string
	for {
		var out *s3.ListObjectsV2Output
		err := s.retry(ctx, "s3://"+bucket+"/"+prefix, func(ctx context.Context, client *s3.Client) error {
			var err error
			out, err = client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
				Bucket: &bucket, Prefix: &prefix, ContinuationToken: token,
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, o := range out.Contents {
			files = append(files, file{
				bucket: bucket, key: aws.ToString(o.Key), etag: aws.ToString(o.ETag), size: aws.ToInt64(o.Size),
			})
		}
		if !aws.ToBool(out.IsTruncated) {
			return files, nil
		}
		token = out.NextContinuationToken
	}
}

// read opens bytes from..to (inclusive) of the object, if it still has f's ETag.
func (s *store) read(ctx context.Context, f file, from, to int64) (io.ReadCloser, error) {
	client, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &f.bucket, Key: &f.key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", from, to))}
	if f.etag != "" {
		in.IfMatch = &f.etag
	}
	out, err := client.GetObject(ctx, in)
	if status(err) == http.StatusPreconditionFailed {
		return nil, errReplaced
	}
	if err != nil {
		return nil, err
	}
	if f.etag != "" && aws.ToString(out.ETag) != f.etag {
		out.Body.Close()
		return nil, errReplaced
	}
	return out.Body, nil
}

// retry calls do until it succeeds, fails permanently, or the store's patience is
// over.
func (s *store) retry(ctx context.Context, name string, do func(context.Context, *s3.Client) error) error {
	client, err := s.open(ctx)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	var last error
	for try := 0; ; try++ {
		err := do(limited, client)
		if err == nil {
			return nil
		}
		if last == nil || limited.Err() == nil {
			last = err // it explains more than "deadline exceeded"
		}
		if !temporary(err) && limited.Err() == nil || !pause(limited, try) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.explain(name, last)
}

// pause waits before the next try. It returns false if ctx ends first.
func pause(ctx context.Context, try int) bool {
	wait := min(200*time.Millisecond<<min(try, 5), 5*time.Second)
	wait += time.Duration(rand.Int64N(int64(wait) / 2)) // otherwise all seats of a node would retry at once
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// status is the HTTP status of a failed request, or 0.
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// temporary reports whether a retry may help.
func temporary(err error) bool {
	if errors.Is(err, errReplaced) || noCredentials(err) {
		return false
	}
	var end wire.End
	if errors.As(err, &end) {
		return false
	}
	switch code := status(err); {
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return true
	case code >= 400 && code < 500:
		return false
	}
	return true
}

func noCredentials(err error) bool {
	return strings.Contains(err.Error(), "get credentials") || strings.Contains(err.Error(), "get identity")
}

// explain makes the seat's end from the store's last error.
func (s *store) explain(name string, err error) error {
	var end wire.End
	if errors.As(err, &end) || errors.Is(err, errReplaced) {
		return err
	}
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	where := s.settings.Endpoint
	if where == "" {
		where = "AWS S3 in " + s.settings.Region
	}
	switch {
	case errors.Is(err, errShort):
		return failure(wire.CodeContentTrunc, "%s: %s sent fewer bytes than the object has; check the proxies between node and store", name, where)
	case noCredentials(err):
		return failure(wire.CodeContentDenied, "%s: the node has no credentials for %s; give it an instance role or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", name, where)
	case code == "NoSuchBucket":
		return failure(wire.CodeContentMissing, "%s: the bucket does not exist at %s; create it, or correct the source", name, where)
	case status(err) == http.StatusNotFound:
		return failure(wire.CodeContentMissing, "%s does not exist at %s; upload it, or correct the source", name, where)
	case status(err) == http.StatusForbidden, status(err) == http.StatusUnauthorized:
		return failure(wire.CodeContentDenied, "%s: %s refused the node's credentials (%s); allow it s3:GetObject and s3:ListBucket", name, where, code)
	}
	return failure(wire.CodeContentStore, "%s: %s failed: %v", name, where, brief(err))
}

// brief returns the innermost cause: the errors around it only repeat it.
func brief(err error) error {
	var op *net.OpError
	var dns *net.DNSError
	var api smithy.APIError
	switch {
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &op):
		return op
	case errors.As(err, &api):
		return fmt.Errorf("%s (HTTP %d)", api.ErrorCode(), status(err))
	}
	return err
}
