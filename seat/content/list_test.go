package content

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
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

// rewritten stands before a store, and changes the headers of its answers, and its listings.
func rewritten(t *testing.T, to string, change func(r *http.Response, listing []byte) []byte) (address string) {
	t.Helper()
	store, err := url.Parse(to)
	testkit.Must(t, err)
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(store); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			if !r.Request.URL.Query().Has("list-type") {
				change(r, nil)
				return nil
			}
			body, err := io.ReadAll(r.Body)
			body = change(r, body)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return err
		},
		ErrorLog: log.New(io.Discard, "", 0), // who has their answer ends the requests beside it
	})
	t.Cleanup(server.Close)
	return server.URL
}

// Some stores list ETags without the quotes that their answers have.
func TestListWithoutQuotes(t *testing.T) {
	g := startGateway(t)
	g.put(t, "set/a", []byte("a"))
	quote := regexp.MustCompile(`(<ETag>)(?:&#34;|&quot;|")([^<&"]*)(?:&#34;|&quot;|")(</ETag>)`)
	var stripped atomic.Int64
	n := newNode(t, rewritten(t, g.url, func(_ *http.Response, body []byte) []byte {
		list := quote.ReplaceAll(body, []byte("$1$2$3"))
		stripped.Add(int64(len(body) - len(list)))
		return list
	}))
	fetchOK(t, n.request(wire.Content{Source: "s3://models/set/", Destination: "set"}))
	wantFile(t, filepath.Join(n.task, "set/a"), []byte("a"))
	if stripped.Load() == 0 {
		t.Error("the listing had no ETag with quotes")
	}
}

// A proxy makes the ETags of some answers weak, and not of others. It is the same object, and If-Match asks for it. One
// that was replaced the store refuses.
func TestWeakETags(t *testing.T) {
	g := startGateway(t)
	small, large := []byte("a"), noise(wholeSize+1000, 1)
	g.put(t, "set/large", large)
	for name, weak := range map[string]func(*http.Request) bool{
		"of listings": func(r *http.Request) bool { return r.URL.Query().Has("list-type") },
		"of HEAD":     func(r *http.Request) bool { return r.Method == http.MethodHead },
		"of GET":      ofObject,
		"of all":      func(*http.Request) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			g.put(t, "set/small", small)
			var weakened, refused atomic.Int64
			n := newNode(t, rewritten(t, g.url, func(r *http.Response, listing []byte) []byte {
				if r.StatusCode == http.StatusPreconditionFailed {
					refused.Add(1)
				}
				if !weak(r.Request) {
					return listing
				}
				etag := r.Header.Get("ETag")
				if etag != "" {
					r.Header.Set("ETag", "W/"+etag)
				}
				if etag != "" || bytes.Contains(listing, []byte("<ETag>")) {
					weakened.Add(1)
				}
				return bytes.ReplaceAll(listing, []byte("<ETag>"), []byte("<ETag>W/"))
			}))
			fetchOK(t, n.request(
				wire.Content{Source: "s3://models/set/", Destination: "set"},
				wire.Content{Source: "s3://models/set/small", Destination: "small"}, wire.Content{Source: "s3://models/set/large", Destination: "large"},
			))
			for _, place := range []string{"", "set"} {
				wantFile(t, filepath.Join(n.task, place, "small"), small)
				wantFile(t, filepath.Join(n.task, place, "large"), large)
			}
			if weakened.Load() == 0 || refused.Load() != 0 || len(n.objects(t)) != 2 {
				t.Errorf("%d ETags are weak, %d requests were refused, and the cache has %q", weakened.Load(), refused.Load(), n.objects(t))
			}

			s := &store{settings: n.store, patience: Patience}
			f := file{bucket: "models", key: "set/small"}
			h, err := s.head(t.Context(), f)
			testkit.Must(t, err)
			if h.sums["md5"] == "" {
				t.Error("the store's checksum is not known")
			}
			f.etag = h.etag
			g.put(t, f.key, []byte("b"))
			if body, _, err := s.read(t.Context(), f, 0, -1); !errors.Is(err, errReplaced) || refused.Load() != 1 {
				t.Errorf("replaced: %v, %d requests were refused", err, refused.Load())
				if err == nil {
					body.Close()
				}
			}
		})
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
