package dev

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/renameio/v2"
)

const (
	// Bucket holds the sample content.
	Bucket = "nearcast-content"
	// s3Region is the region of the object store.
	s3Region = "us-east-1"
)

// s3Key is the only account of the object store. It lasts as long as the folder.
type s3Key struct {
	Access string `json:"access"`
	Secret string `json:"secret"`
}

func (c *Cluster) s3Server() (service, error) {
	dir := filepath.Join(c.Dir, "s3")
	objects, meta := filepath.Join(dir, "objects"), filepath.Join(dir, "meta")
	for _, d := range []string{objects, meta} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return service{}, err
		}
	}
	keyFile := filepath.Join(dir, "key.json")
	text, err := os.ReadFile(keyFile)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &c.s3Key); err != nil {
			return service{}, fmt.Errorf("parse %s: %w", keyFile, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		c.s3Key = s3Key{Access: "nearcast-dev", Secret: rand.Text()}
		if text, err = json.Marshal(c.s3Key); err != nil {
			return service{}, err
		}
		if err := renameio.WriteFile(keyFile, text, 0o600); err != nil {
			return service{}, err
		}
	default:
		return service{}, err
	}
	address := c.address(c.Ports.S3)
	return service{
		name: "s3",
		// Metadata is in files of its own: not every filesystem has extended attributes.
		argv: []string{c.tools["versitygw"], "--port", address, "--region", s3Region, "--health", "/healthz", "--keep-alive", "--quiet",
			"posix", "--sidecar", meta, objects},
		env: c.environ("ROOT_ACCESS_KEY_ID="+c.s3Key.Access, "ROOT_SECRET_ACCESS_KEY="+c.s3Key.Secret),
		log: c.LogFile("s3"),
		ready: func(ctx context.Context) error {
			_, err := c.Get(ctx, c.S3Endpoint+"/healthz")
			return err
		},
		grace: 5 * time.Second,
	}, nil
}

// S3 is a client of the cluster's object store.
func (c *Cluster) S3() *s3.Client {
	options := s3.Options{
		BaseEndpoint: aws.String(c.S3Endpoint),
		Region:       s3Region,
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(c.s3Key.Access, c.s3Key.Secret, ""),
	}
	if c.at.Network != nil {
		options.HTTPClient = c.http
	}
	return s3.New(options)
}

// Upload puts a file into Bucket, unless a newer object of the same size is there.
func (c *Cluster) Upload(ctx context.Context, key, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("upload %s: %w", key, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("upload %s: %w", key, err)
	}
	client := c.S3()
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key)})
	if err == nil && aws.ToInt64(head.ContentLength) == info.Size() && head.LastModified != nil && head.LastModified.After(info.ModTime()) {
		return nil
	}
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(Bucket), Key: aws.String(key), Body: f}); err != nil {
		return fmt.Errorf("upload %s: %w", key, err)
	}
	return nil
}

func (c *Cluster) makeBucket(ctx context.Context) error {
	_, err := c.S3().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(Bucket)})
	var mine *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &mine) {
		return fmt.Errorf("make bucket %s: %w", Bucket, err)
	}
	return nil
}
