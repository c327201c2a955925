package events

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// Store keeps what a leader leaves to the next one. Keys are slash paths. All brains of a site need
// the same store.
type Store interface {
	Put(ctx context.Context, key string, data []byte) error
	// Get returns ErrMissing where there is no such key.
	Get(ctx context.Context, key string) ([]byte, error)
	// Delete of a key that is not there is no error.
	Delete(ctx context.Context, key string) error
	// List gives the keys that begin with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
}

// ErrMissing is Get's error where there is no such key.
var ErrMissing = errors.New("no such object")

// maxObject bounds what is read of a store: several times what 20,000 sessions are.
const maxObject = 64 << 20

// OpenStore opens a store by its address: s3://bucket/prefix, also with ?endpoint=URL&region=NAME, or
// the path of a folder that all brains of the site share.
func OpenStore(address string) (Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%q is neither s3://bucket/prefix nor a folder", address)
	}
	switch {
	case u.Scheme == "s3":
		return openS3(u)
	case u.Scheme == "" && filepath.IsAbs(address):
		return folder(address), nil
	}
	return nil, fmt.Errorf("%q is neither s3://bucket/prefix nor the absolute path of a folder", address)
}

// folder is a Store in a filesystem.
type folder string

func (f folder) Put(_ context.Context, key string, data []byte) error {
	file := filepath.Join(string(f), filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make a folder for events: %w", err)
	}
	if err := renameio.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return nil
}

func (f folder) Get(_ context.Context, key string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(string(f), filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return data, nil
}

func (f folder) Delete(_ context.Context, key string) error {
	if err := os.Remove(filepath.Join(string(f), filepath.FromSlash(key))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete events: %w", err)
	}
	return nil
}

func (f folder) List(_ context.Context, prefix string) (keys []string, err error) {
	root := filepath.Join(string(f), filepath.FromSlash(path.Dir(prefix+"x")))
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(string(f), file)
		// A file whose name begins with a dot is one that is being written.
		if key := filepath.ToSlash(rel); err == nil && strings.HasPrefix(key, prefix) && !strings.HasPrefix(d.Name(), ".") {
			keys = append(keys, key)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list events: %w", err)
	}
	slices.Sort(keys)
	return keys, nil
}
