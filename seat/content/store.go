package content

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/nearcast/nearcast/internal/wire"
)

// store is the object store. Its SDK client is made at the first request, so that
// a seat whose content is cached needs neither store nor credentials.
type store struct {
	settings wire.S3
	patience time.Duration

	once   sync.Once
	client *s3.Client
	getter *getter
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
					// Each request that may be in flight finds a connection that is open.
					t.MaxIdleConns, t.MaxIdleConnsPerHost = maxInFlight, maxInFlight
					t.IdleConnTimeout = 30 * time.Second
					t.ReadBufferSize = 16 << 10 // a small object and its headers in one read
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
		s.getter = newGetter(s.client)
	})
	return s.client, s.err
}

// head is what the store knows about an object.
type head struct {
	etag    string
	version string
	size    int64
	sums    checksums
}

func (s *store) head(ctx context.Context, f file) (head, error) {
	var out *s3.HeadObjectOutput
	err := s.retry(ctx, f.name(), func(ctx context.Context, client *s3.Client) error {
		var err error
		out, err = client.HeadObject(ctx, &s3.HeadObjectInput{
			Bucket: &f.bucket, Key: &f.key, VersionId: f.versionID(), ChecksumMode: types.ChecksumModeEnabled,
		})
		return err
	})
	if err != nil {
		return head{}, err
	}
	return headOf(out), nil
}

// again asks for what is in the store now, in place of an object that was replaced.
func (s *store) again(ctx context.Context, j job) (job, error) {
	h, err := s.head(ctx, j.file)
	if err != nil {
		return j, err
	}
	if j.exact && h.size != j.size {
		return j, wrongSize(j.file, h.size)
	}
	if j.sha256 == "" && (h.etag != j.etag || h.size != j.size) {
		return j, failure(wire.CodeContentStore, "%s was replaced in the store while it was fetched; start the seat again, or publish under a new key", j.name())
	}
	j.etag, j.size, j.sums = h.etag, h.size, h.sums
	return j, nil
}

// checksumMode asks for the checksums of the object, which this package checks. The SDK's
// own option would check them a second time.
var checksumMode = s3.WithAPIOptions(smithyhttp.AddHeaderValue("x-amz-checksum-mode", "ENABLED"))

// read opens bytes from..to (inclusive) of the object, or all from there if to is -1, if
// it still has f's ETag. The head has checksums only if the whole object was asked for.
func (s *store) read(ctx context.Context, f file, from, to int64) (io.ReadCloser, head, error) {
	client, err := s.open(ctx)
	if err != nil {
		return nil, head{}, err
	}
	in := &s3.GetObjectInput{Bucket: &f.bucket, Key: &f.key, VersionId: f.versionID()}
	switch {
	case to >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", from, to))
	case from > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", from))
	}
	if in.Range == nil {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	if f.etag != "" {
		in.IfMatch = &f.etag
	}
	body, h, sdk, err := s.getter.get(ctx, in)
	if sdk || skewed(err) { // the SDK corrects a clock that is wrong
		body, h, err = s.getBySDK(ctx, client, in)
	}
	if status(err) == http.StatusPreconditionFailed {
		return nil, head{}, errReplaced
	}
	if err != nil {
		return nil, head{}, err
	}
	if f.etag != "" && h.etag != f.etag {
		body.Close()
		return nil, head{}, errReplaced
	}
	return body, h, nil
}

func (s *store) getBySDK(ctx context.Context, client *s3.Client, in *s3.GetObjectInput) (io.ReadCloser, head, error) {
	// The SDK checks what it asks for by itself. So the header is asked for beside it.
	var options []func(*s3.Options)
	if in.ChecksumMode != "" {
		in.ChecksumMode = ""
		options = append(options, checksumMode)
	}
	out, err := client.GetObject(ctx, in, options...)
	if err != nil {
		return nil, head{}, err
	}
	return out.Body, headOfGet(out), nil
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
