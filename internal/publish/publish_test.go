package publish

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestPublish(t *testing.T) {
	server := testkit.StartS3(t, "us-east-1", "content")
	to := Store{Bucket: "content", Prefix: "game/", Endpoint: server.URL, Region: server.Region}
	dir := t.TempDir()
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(dir, path)
		testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		testkit.Must(t, os.WriteFile(path, []byte(text), mode))
	}
	big := strings.Repeat("0123456789abcdef", 20<<16) // 20 MiB: in parts
	write("bin/run", "#!/bin/sh\n", 0o755)
	write("data/a", "one", 0o600)
	write("data/same", "one", 0o644)
	write("big", big, 0o644)
	testkit.Must(t, os.Symlink("data/a", filepath.Join(dir, "link")))
	var last Progress
	to.Progress = func(p Progress) { last = p }
	first, err := Dir(t.Context(), dir, to)
	testkit.Must(t, err)
	if first.Files != 5 || first.Present != 0 || last.Done != 3 || last.Total != 3 || last.DoneBytes != last.TotalBytes {
		t.Errorf("published %+v, progress %+v", first, last)
	}

	client, err := to.open(t.Context())
	testkit.Must(t, err)
	get := func(key string) []byte {
		t.Helper()
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &to.Bucket, Key: aws.String("game/" + key)})
		testkit.Must(t, err)
		defer out.Body.Close()
		b, err := io.ReadAll(out.Body)
		testkit.Must(t, err)
		return b
	}
	m, err := wire.ParseManifest(get(wire.ManifestKey(first.Manifest)))
	testkit.Must(t, err)
	want := map[string]string{"bin/run": "#!/bin/sh\n", "data/a": "one", "data/same": "one", "big": big, "link": "one"}
	for _, f := range m.Files {
		if !bytes.Equal(get(wire.ObjectKey(f.SHA256)), []byte(want[f.Path])) {
			t.Errorf("%s differs", f.Path)
		}
		if (f.Mode == wire.ModeProgram) != (f.Path == "bin/run") {
			t.Errorf("%s has mode %q", f.Path, f.Mode)
		}
		delete(want, f.Path)
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}

	// Another version: what is there stays, and is not uploaded again.
	last = Progress{}
	write("data/a", "two", 0o644)
	second, err := Dir(t.Context(), dir, to)
	testkit.Must(t, err)
	if second.Manifest == first.Manifest || second.Present != 3 || last.Total != 1 {
		t.Errorf("published %+v, progress %+v", second, last)
	}
	get(wire.ManifestKey(first.Manifest))
	again, err := Dir(t.Context(), dir, to)
	testkit.Must(t, err)
	if again.Manifest != second.Manifest || again.Present != 5 {
		t.Errorf("published %+v, want what was there", again)
	}

	// The folder may be a link itself.
	link := filepath.Join(t.TempDir(), "current")
	testkit.Must(t, os.Symlink(dir, link))
	again, err = Dir(t.Context(), link, to)
	testkit.Must(t, err)
	if again.Manifest != second.Manifest {
		t.Errorf("published %+v by a link, want the same", again)
	}
}

func TestPublishRefuses(t *testing.T) {
	server := testkit.StartS3(t, "us-east-1", "content")
	to := Store{Bucket: "content", Prefix: "game/", Endpoint: server.URL, Region: server.Region}
	empty, outside, pipe := t.TempDir(), t.TempDir(), t.TempDir()
	testkit.Must(t, os.Symlink("/etc/hostname", filepath.Join(outside, "link")))
	testkit.Must(t, unix.Mkfifo(filepath.Join(pipe, "pipe"), 0o600))
	file := t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(file, "a"), []byte("a"), 0o644))
	elsewhere := to
	elsewhere.Bucket = "nowhere"
	for name, c := range map[string]struct {
		dir  string
		to   Store
		says string
	}{
		"no files":         {empty, to, "no files"},
		"a link out of it": {outside, to, "escapes"},
		"a pipe":           {pipe, to, "pipe is no file"},
		"no bucket":        {file, elsewhere, "NoSuchBucket"},
		"no folder":        {filepath.Join(empty, "none"), to, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if v, err := Dir(t.Context(), c.dir, c.to); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("published %+v, %v; want an error that says %q", v, err, c.says)
			}
		})
	}
}

// A file changes after it was hashed. Its bytes are never an object under the name of what
// it was, not for a moment, and nothing is deleted.
func TestFileThatChanges(t *testing.T) {
	server := testkit.StartS3(t, "us-east-1", "content")
	target, err := url.Parse(server.URL)
	testkit.Must(t, err)
	large := strings.Repeat("0123456789abcdef", 17<<16) // 17 MiB: in parts
	for name, c := range map[string]struct{ before, after string }{
		"other bytes":          {"one", "two"},
		"shorter":              {"one", "on"},
		"longer":               {"one", "ones"},
		"no more bytes":        {"one", ""},
		"large, other bytes":   {large, large[:len(large)-1] + "x"},
		"large, longer":        {large, large + "x"},
		"large, shorter":       {large, large[:16<<20]},
		"large, not any more":  {large, "one"},
		"large, was not large": {"one", large},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a")
			testkit.Must(t, os.WriteFile(path, []byte(c.before), 0o644))
			var mu sync.Mutex
			var requests []string
			var change sync.Once
			reverse := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.Out.Host = r.In.Host // the signature covers it
			}}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if q.Has("list-type") { // between the hash and the upload
					change.Do(func() { _ = os.WriteFile(path, []byte(c.after), 0o644) })
				}
				completes := r.Method == http.MethodPut && !q.Has("partNumber") || r.Method == http.MethodPost && q.Has("uploadId")
				if completes || r.Method == http.MethodDelete && !q.Has("uploadId") {
					mu.Lock()
					requests = append(requests, r.Method+" "+r.URL.String())
					mu.Unlock()
				}
				reverse.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			to := Store{Bucket: "content", Prefix: "game/", Endpoint: proxy.URL, Region: server.Region}
			if v, err := Dir(t.Context(), dir, to); err == nil || !strings.Contains(err.Error(), "changed while it was published") {
				t.Errorf("published %+v, %v", v, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(requests) > 0 {
				t.Errorf("the store was asked: %v", requests)
			}
		})
	}
}
