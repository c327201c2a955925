package content

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// version puts a manifest of these files into the store, and returns what a job has.
func version(t *testing.T, g *gateway, files ...wire.ManifestFile) (item wire.Content, text []byte) {
	t.Helper()
	text, id, err := wire.NewManifest(files)
	if err != nil {
		t.Fatal(err)
	}
	g.put(t, "app/"+wire.ManifestKey(id), text)
	return wire.Content{Source: "s3://models/app/", Destination: "local", Manifest: "sha256:" + id}, text
}

// Another job says of the same sha256 that it has another size, and its store has other
// bytes. It begins when the first fetch has verified its file and not yet kept it.
func TestOneKeyOfTwoSizes(t *testing.T) {
	g := startGateway(t)
	data, other := noise(1000, 1), noise(20<<20, 2)
	g.put(t, "m", data)
	g.put(t, "app/"+wire.ObjectKey(sum(data)), other)
	item, text := version(t, g, wire.ManifestFile{Path: "m", Size: int64(len(other)), SHA256: sum(data)})
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	c, err := openCache(n.cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.keep(t.Context(), file{cacheKey: "sha256-" + strings.TrimPrefix(item.Manifest, "sha256:")}, text); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	gate := func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/app/objects/") {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}
	p.gate.Store(&gate)

	second := n.request(item)
	second.TaskDir = t.TempDir()
	ended := make(chan error, 1)
	var once sync.Once
	first := n.request(wire.Content{Source: "s3://models/m", Destination: "m", SHA256: sum(data)})
	first.Progress = func(done, total int64, _ string) {
		if done == total {
			once.Do(func() {
				go func() {
					_, err := fetchAndKeep(t.Context(), second)
					ended <- err
				}()
			})
		}
	}
	hold, err := fetchAndKeep(t.Context(), first)
	if err != nil {
		t.Errorf("the first fetch: %v", err)
	} else {
		defer hold.Close()
		wantFile(t, filepath.Join(n.task, "m"), data)
		wantFile(t, filepath.Join(n.cache.Dir, "objects", "sha256-"+sum(data)), data)
	}
	close(release)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "should have") {
		t.Errorf("the second fetch: %v", err)
	}
	if left := n.partial(t); len(left) != 0 {
		t.Errorf("left of the downloads: %v", left)
	}
}

// A download that was replaced since it was verified is not kept.
func TestOnlyTheVerifiedFileIsKept(t *testing.T) {
	n := newNode(t, "")
	c, err := openCache(n.cache)
	if err != nil {
		t.Fatal(err)
	}
	path := c.path(downloads, "sha256-a")
	create := func() *os.File {
		data, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, unverified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := data.WriteString("model"); err != nil {
			t.Fatal(err)
		}
		return data
	}
	data := create()
	verified, err := finish(data, file{})
	data.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	create().Close() // perhaps with the same inode
	if err := c.keepVerified("sha256-a", verified); err == nil || len(n.objects(t)) != 0 {
		t.Errorf("kept %v, %v", n.objects(t), err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	same, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	if verified, err = finish(same, file{}); err != nil {
		t.Fatal(err)
	}
	if err := c.keepVerified("sha256-a", verified); err != nil || len(n.objects(t)) != 1 {
		t.Errorf("kept %v, %v", n.objects(t), err)
	}
}

// A manifest may be any object that is in the cache: it is not read if it is too large.
func TestCachedManifestIsTooLarge(t *testing.T) {
	n := newNode(t, "http://127.0.0.1:1")
	c, err := openCache(n.cache)
	if err != nil {
		t.Fatal(err)
	}
	digits := sum([]byte("large"))
	path := c.path("objects", "sha256-"+digits)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil { // as much as no memory has
		t.Fatal(err)
	}
	end := fetchFails(t, n.request(wire.Content{Source: "s3://models/app/", Destination: "local", Manifest: "sha256:" + digits}), wire.CodeConfig)
	if !strings.Contains(end.Detail, "larger than a manifest") {
		t.Errorf("it says %q", end.Detail)
	}
}

// A manifest says the size of each file. It must be right for large files too, whether the
// store or the cache has them.
func TestManifestSaysTheSize(t *testing.T) {
	g := startGateway(t)
	data := noise(wholeSize+5, 1)
	g.put(t, "m", data)
	g.put(t, "app/"+wire.ObjectKey(sum(data)), data)
	item, _ := version(t, g, wire.ManifestFile{Path: "m", Size: wholeSize + 4, SHA256: sum(data)})
	n := newNode(t, g.url)
	fetchFails(t, n.request(item), wire.CodeContentChecksum)
	fetchOK(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m", SHA256: sum(data)}))
	fetchFails(t, n.request(item), wire.CodeContentChecksum)
}

// What other tasks and Nomad own is refused below a prefix too.
func TestForeignFolders(t *testing.T) {
	g := startGateway(t)
	text := []byte("x")
	g.put(t, "a/secrets/x", text)
	g.put(t, "b/x", text)
	g.put(t, "app/"+wire.ObjectKey(sum(text)), text)
	item, _ := version(t, g, wire.ManifestFile{Path: "alloc/x", Size: 1, SHA256: sum(text)})
	item.Destination = "."
	for _, item := range []wire.Content{
		item,
		{Source: "s3://models/a/", Destination: "."},
		{Source: "s3://models/a/", Destination: "local/.."},
		{Source: "s3://models/b/", Destination: "secrets"},
		{Source: "s3://models/b/x", Destination: "alloc/"},
	} {
		n := newNode(t, g.url)
		end := fetchFails(t, n.request(item), wire.CodeConfig)
		if left := names(t, n.task); len(left) != 0 || !strings.Contains(end.Detail, "Nomad own") {
			t.Errorf("%+v: left %v, says %q", item, left, end.Detail)
		}
	}
	n := newNode(t, g.url)
	fetchOK(t, n.request(wire.Content{Source: "s3://models/a/", Destination: "local"}))
	wantFile(t, filepath.Join(n.task, "local/secrets/x"), text)
}
