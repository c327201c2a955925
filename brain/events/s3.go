package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// storeWithin bounds each request of a store: a leader that waits longer sends nothing meanwhile.
const storeWithin = 10 * time.Second

// bucket is a Store in an object store that speaks S3. Credentials come from where the AWS SDK
// finds them: the environment, or the node's role.
type bucket struct {
	name, prefix, endpoint, region string

	mu     sync.Mutex
	client *s3.Client // nil before the first use
}

func openS3(u *url.URL) (*bucket, error) {
	q := u.Query()
	b := &bucket{name: u.Host, prefix: strings.Trim(u.Path, "/"), endpoint: q.Get("endpoint"), region: q.Get("region")}
	for name := range q {
		if name != "endpoint" && name != "region" {
			return nil, fmt.Errorf("s3:// takes ?endpoint= and ?region=, not %q", name)
		}
	}
	if b.name == "" {
		return nil, errors.New("s3:// needs a bucket: s3://bucket/prefix")
	}
	if b.prefix != "" {
		b.prefix += "/"
	}
	return b, nil
}

func (b *bucket) open(ctx context.Context) (*s3.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client != nil {
		return b.client, nil
	}
	var options []func(*config.LoadOptions) error
	if b.region != "" {
		options = append(options, config.WithRegion(b.region))
	}
	settings, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open the store of events: %w", err)
	}
	b.client = s3.NewFromConfig(settings, func(o *s3.Options) {
		if b.endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = &b.endpoint, true
		}
	})
	return b.client, nil
}

func (b *bucket) Put(ctx context.Context, key string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	client, err := b.open(ctx)
	if err != nil {
		return err
	}
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + key), Body: bytes.NewReader(data)}); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

func (b *bucket) Get(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	client, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + key)})
	var missing *types.NoSuchKey
	if errors.As(err, &missing) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, maxObject))
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return data, nil
}

func (b *bucket) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	client, err := b.open(ctx)
	if err != nil {
		return err
	}
	if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + key)}); err != nil {
		return fmt.Errorf("delete events: %w", err)
	}
	return nil
}

func (b *bucket) List(ctx context.Context, prefix string) (keys []string, err error) {
	client, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String(b.prefix + prefix)})
	for pages.HasMorePages() {
		one, cancel := context.WithTimeout(ctx, storeWithin)
		page, err := pages.NextPage(one)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("list events: %w", err)
		}
		for _, object := range page.Contents {
			keys = append(keys, strings.TrimPrefix(aws.ToString(object.Key), b.prefix))
		}
	}
	slices.Sort(keys)
	return keys, nil
}
