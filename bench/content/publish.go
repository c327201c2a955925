package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/wire"
)

// publish makes a version of a shape's objects, as "nearcast app publish" does, unless an earlier run
// did, and returns the name of its manifest. Its objects are links in the store's folder to those that
// are there: to upload them again would take minutes.
func (s *objectStore) publish(ctx context.Context, sh shape) (manifest string, err error) {
	done := filepath.Join(s.dir, "published-"+sh.name)
	if name, err := os.ReadFile(done); err == nil {
		return string(name), nil
	}
	say("publishing %s", sh.name)
	objects, meta := filepath.Join(s.dir, "objects", bucket), filepath.Join(s.dir, "meta", bucket)
	m := wire.Manifest{Format: 1}
	for i := range sh.count {
		data, err := io.ReadAll(io.LimitReader(newNoise(i), sh.size))
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(data)
		f := wire.ManifestFile{Path: strings.TrimPrefix(sh.key(i), sh.name+"/"), Size: sh.size, SHA256: hex.EncodeToString(sum[:])}
		m.Files = append(m.Files, f)
		to := sh.published() + "/" + wire.ObjectKey(f.SHA256)
		if err := errors.Join(linkAll(filepath.Join(objects, sh.key(i)), filepath.Join(objects, to)), linkAll(filepath.Join(meta, sh.key(i)), filepath.Join(meta, to))); err != nil {
			return "", fmt.Errorf("publish: %w", err)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	digits := hex.EncodeToString(sum[:])
	if _, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(sh.published() + "/" + wire.ManifestKey(digits)), Body: bytes.NewReader(text),
	}); err != nil {
		return "", fmt.Errorf("publish: %w", err)
	}
	manifest = "sha256:" + digits
	return manifest, os.WriteFile(done, []byte(manifest), 0o644)
}

// published is the prefix of a shape's version.
func (s shape) published() string { return s.name + "-published" }

// linkAll makes links to a file, or to all files below a folder.
func linkAll(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name := filepath.Join(to, below)
		if d.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.Link(path, name); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil // an earlier run was killed
	})
}
