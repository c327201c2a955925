package events

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestStores has the same of a folder and of a real object store.
func TestStores(t *testing.T) {
	s3 := testkit.StartS3(t, "eu-west-1", "site")
	dir := t.TempDir()
	for name, address := range map[string]string{"folder": filepath.Join(dir, "events"), "s3": "s3://site/events?region=eu-west-1&endpoint=" + s3.URL} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			store, err := OpenStore(address)
			testkit.Must(t, err)
			if keys, err := store.List(ctx, "known/"); err != nil || len(keys) != 0 {
				t.Errorf("at first: %q, %v", keys, err)
			}
			if _, err := store.Get(ctx, "known/1"); !errors.Is(err, ErrMissing) {
				t.Errorf("what is missing: %v", err)
			}
			for _, key := range []string{"known/2", "known/1", "pending/a/1", "pending/b/1", "known/1"} {
				testkit.Must(t, store.Put(ctx, key, []byte(key)))
			}
			for prefix, want := range map[string][]string{"known/": {"known/1", "known/2"}, "pending/": {"pending/a/1", "pending/b/1"}, "pending/a/": {"pending/a/1"}} {
				if keys, err := store.List(ctx, prefix); err != nil || !slices.Equal(keys, want) {
					t.Errorf("%s: %q, %v", prefix, keys, err)
				}
			}
			if data, err := store.Get(ctx, "pending/a/1"); err != nil || string(data) != "pending/a/1" {
				t.Errorf("%q, %v", data, err)
			}
			for range 2 {
				testkit.Must(t, store.Delete(ctx, "known/1"))
			}
			if keys, _ := store.List(ctx, "known/"); !slices.Equal(keys, []string{"known/2"}) {
				t.Errorf("after a deletion: %q", keys)
			}
			if b, ok := store.(*bucket); ok {
				http := b.client.Options().HTTPClient
				if c, ok := http.(interface{ CloseIdleConnections() }); ok {
					c.CloseIdleConnections()
				}
			}
		})
	}
	if info, err := os.Stat(filepath.Join(dir, "events", "known", "2")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read events: %v, %v", info, err)
	}
	for _, wrong := range []string{"", "events", "s3://", "s3://b/p?x=y", "https://b/p", "gs://b/p"} {
		if _, err := OpenStore(wrong); err == nil {
			t.Errorf("%q is a store", wrong)
		}
	}
}
