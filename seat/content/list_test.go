package content

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A listing of more than one page has each object once, whatever folders there are.
func TestListOfManyObjects(t *testing.T) {
	g := startGateway(t)
	const many = 1100
	group := new(errgroup.Group)
	group.SetLimit(16)
	want := map[string]bool{"app/top": true, "app/one/in": true}
	for i := range many {
		want[fmt.Sprintf("app/one/%c/%04d", 'a'+i%3, i)] = true
	}
	for key := range want {
		group.Go(func() error { g.put(t, key, []byte(key)); return nil })
	}
	testkit.Must(t, group.Wait())
	s := &store{settings: wire.S3{Endpoint: g.url, Region: "us-east-1", PathStyle: true}, patience: Patience}
	for _, prefix := range []string{"app/", "app/one/", "", "app/one/a"} {
		files, err := s.list(t.Context(), "models", prefix)
		testkit.Must(t, err)
		got := map[string]bool{}
		for i, f := range files {
			if !want[f.key] || got[f.key] || f.size != int64(len(f.key)) || i > 0 && files[i-1].key >= f.key {
				t.Errorf("below %q: %q of %d bytes, after %q", prefix, f.key, f.size, files[max(0, i-1)].key)
			}
			got[f.key] = true
		}
		number := map[string]int{"app/": many + 2, "": many + 2, "app/one/": many + 1, "app/one/a": (many + 2) / 3}[prefix]
		if len(got) != number {
			t.Errorf("below %q: %d objects, want %d", prefix, len(got), number)
		}
	}
	_, folders, err := s.folders(t.Context(), "models", "")
	if err != nil || len(folders) != 2 && len(folders) != 3 {
		t.Errorf("folders: %q, %v", folders, err)
	}
}

// A store that knows the first version of listings alone names no next page: to ask for one again and again would list
// the first for ever.
func TestListWithoutNextPage(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for _, next := range []string{"", "<NextContinuationToken>same</NextContinuationToken>"} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) > 50 {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			fmt.Fprintf(w, `<ListBucketResult><IsTruncated>true</IsTruncated>%s<NextMarker>app/a</NextMarker><Contents><Key>app/a</Key><ETag>"e"</ETag><Size>1</Size></Contents></ListBucketResult>`, next)
		}))
		s := &store{settings: wire.S3{Endpoint: server.URL, Region: "us-east-1", PathStyle: true}, patience: Patience}
		files, err := s.list(t.Context(), "models", "app/")
		server.Close()
		var end wire.End
		if !errors.As(err, &end) || end.Code != wire.CodeContentStore || !strings.Contains(end.Detail, "ListObjectsV2") || asked.Load() > 10 {
			t.Errorf("with %q: %d files after %d requests: %v", next, len(files), asked.Load(), err)
		}
	}
}

// Some stores list ETags without the quotes that their answers have.
func TestListWithoutQuotes(t *testing.T) {
	g := startGateway(t)
	g.put(t, "set/a", []byte("a"))
	to, err := url.Parse(g.url)
	testkit.Must(t, err)
	quote := regexp.MustCompile(`(<ETag>)(?:&#34;|&quot;|")([^<&"]*)(?:&#34;|&quot;|")(</ETag>)`)
	var stripped atomic.Int64
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			body, err := io.ReadAll(r.Body)
			if list := quote.ReplaceAll(body, []byte("$1$2$3")); len(list) < len(body) {
				stripped.Add(1)
				body = list
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return err
		},
	}
	server := httptest.NewServer(reverse)
	t.Cleanup(server.Close)
	n := newNode(t, server.URL)
	fetchOK(t, n.request(wire.Content{Source: "s3://models/set/", Destination: "set"}))
	wantFile(t, filepath.Join(n.task, "set/a"), []byte("a"))
	if stripped.Load() == 0 {
		t.Error("the listing had no ETag with quotes")
	}
}

// A process was killed when a seat had its large file, and before that was in the cache. A
// second seat does not write into the file of the first.
func TestPlacedFileIsNotContinued(t *testing.T) {
	g := startGateway(t)
	data := noise(3*minPart, 1)
	g.put(t, "m", data)
	n := newNode(t, g.url)
	item := wire.Content{Source: "s3://models/m", Destination: "m"}
	fetchOK(t, n.request(item))
	placed := filepath.Join(n.task, "m")
	c, err := openCache(n.cache)
	testkit.Must(t, err)
	key := n.objects(t)[0]
	testkit.Must(t, os.Rename(c.path("objects", key), c.path(downloads, key)))
	s := &store{settings: n.store, patience: Patience}
	h, err := s.head(t.Context(), file{bucket: "models", key: "m"})
	testkit.Must(t, err)
	parts := partMap{Bucket: "models", Key: "m", ETag: h.etag, Size: h.size, PartSize: partSize(h.size), Done: []byte{1}}
	testkit.Must(t, c.writeParts(key, parts))
	var before, after unix.Stat_t
	testkit.Must(t, unix.Stat(placed, &before))

	n.task = t.TempDir()
	fetchOK(t, n.request(item))
	wantFile(t, filepath.Join(n.task, "m"), data)
	testkit.Must(t, unix.Stat(placed, &after))
	if before.Mtim != after.Mtim || sameInode(t, placed, c.path("objects", key)) {
		t.Error("the file of the first seat was written to")
	}
}
