package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
)

// lateBucket is a bucket to which a test copies, as replication does.
type lateBucket struct {
	t      *testing.T
	client *s3.Client
}

func (b lateBucket) keys() []string {
	b.t.Helper()
	out, err := b.client.ListObjectsV2(b.t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("content")})
	testkit.Must(b.t, err)
	var keys []string
	for _, o := range out.Contents {
		keys = append(keys, *o.Key)
	}
	return keys
}

func (b lateBucket) copy(key string, change func([]byte) []byte) {
	b.t.Helper()
	out, err := b.client.GetObject(b.t.Context(), &s3.GetObjectInput{Bucket: aws.String("content"), Key: &key})
	testkit.Must(b.t, err)
	data, err := io.ReadAll(out.Body)
	out.Body.Close()
	testkit.Must(b.t, err)
	_, err = b.client.PutObject(b.t.Context(), &s3.PutObjectInput{Bucket: aws.String("far"), Key: &key, Body: bytes.NewReader(change(data))})
	testkit.Must(b.t, err)
}

// The command publishes to one bucket, and waits for a copy in another that comes late.
func TestAppPublish(t *testing.T) {
	store := testkit.StartS3(t, "us-east-1", "content")
	settings, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(store.Region))
	testkit.Must(t, err)
	bucket := lateBucket{t, s3.NewFromConfig(settings, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &store.URL, true })}
	_, err = bucket.client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("far")})
	testkit.Must(t, err)
	dir := t.TempDir()
	for name, text := range map[string]string{"run": "#!/bin/sh\n", "a": "one", "b": "two", "same": "one"} {
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	same := func(b []byte) []byte { return b }
	args := []string{dir, "--to", "s3://content/game", "--endpoint", store.URL, "--region", store.Region}
	publish := func(more ...string) (string, error) {
		t.Helper()
		return command(t, appPublish(), append(args, more...)...)
	}

	out, err := publish()
	testkit.Must(t, err)
	m := regexp.MustCompile(`(?s)content \{\n  source      = "s3://content/game/"\n  manifest    = "sha256:([0-9a-f]{64})"\n  destination = "local/game"\n\}`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("it printed\n%s", out)
	}
	keys := bucket.keys()
	if len(keys) != 4 { // three files, of which two are the same, and the manifest
		t.Fatalf("in the bucket: %q", keys)
	}

	// Nothing has come.
	site := []string{"--site", "iad=s3://far"}
	out, err = publish(append(site, "--wait", "1s")...)
	if err == nil || !strings.Contains(err.Error(), "site iad lacks 4 of 4 objects: s3://far/game/objects/") {
		t.Errorf("with nothing there: %v\n%s", err, out)
	}
	if !strings.Contains(out, "manifest") {
		t.Errorf("it printed no block:\n%s", out)
	}

	// It comes while the command waits, an object that is not whole first.
	var running testkit.Buffer
	cmd := appPublish()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&running)
	cmd.SetErr(&running)
	cmd.SetArgs(append(args, append(site, "--wait", "2m")...))
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(t.Context()) }()
	testkit.Until(t, "the command waits", func() bool { return strings.Contains(running.String(), "iad: 0 of 4 objects") })
	for i, key := range keys {
		if i > 0 {
			bucket.copy(key, same)
		} else {
			bucket.copy(key, func(b []byte) []byte { return append(b, 'x') })
		}
	}
	testkit.Until(t, "the command waits for the one that is not whole", func() bool { return strings.Contains(running.String(), "iad: 3 of 4 objects") })
	select {
	case err := <-done:
		t.Fatalf("it ended: %v\n%s", err, running.String())
	default:
	}
	bucket.copy(keys[0], same)
	testkit.Must(t, <-done)
	if !strings.Contains(running.String(), "iad: 4 of 4 objects") {
		t.Errorf("it said\n%s", running.String())
	}

	// Of a site that has it, and one that cannot be asked.
	out, err = publish(append(site, "--site", "tok=s3://nowhere", "--wait", "1s")...)
	if err == nil || !strings.Contains(err.Error(), "site tok") || strings.Contains(err.Error(), "site iad") {
		t.Errorf("with a bucket that is not there: %v\n%s", err, out)
	}
}

// A version of many files is looked for in a list.
func TestAppPublishOfManyFiles(t *testing.T) {
	store := testkit.StartS3(t, "us-east-1", "content")
	dir := t.TempDir()
	for i := range 250 {
		testkit.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), fmt.Appendf(nil, "file %d", i), 0o644))
	}
	out, err := command(t, appPublish(), dir, "--to", "s3://content/many", "--endpoint", store.URL, "--site", "here=s3://content", "--wait", "1m")
	if err != nil || !strings.Contains(out, "here: 251 of 251 objects") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAppPublishRefuses(t *testing.T) {
	for says, args := range map[string][]string{
		"--to must be":          {"--to", "content/game"},
		"--wait needs":          {"--to", "s3://b/p", "--wait", "1m"},
		"--site needs --wait":   {"--to", "s3://b/p", "--site", "a=s3://c"},
		"has no name":           {"--to", "s3://b/p", "--wait", "1m", "--site", "s3://c"},
		"names no bucket":       {"--to", "s3://b/p", "--wait", "1m", "--site", "a=c"},
		"has a prefix":          {"--to", "s3://b/p", "--wait", "1m", "--site", "a=s3://c/other"},
		"has a name twice":      {"--to", "s3://b/p", "--wait", "1m", "--site", "a=s3://c", "--site", "a=s3://d"},
		"has endpiont: it must": {"--to", "s3://b/p", "--wait", "1m", "--site", "a=s3://c?endpiont=x"},
	} {
		if out, err := command(t, appPublish(), append([]string{t.TempDir()}, args...)...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}
