package content

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// gateway is a real S3 server for one test.
type gateway struct {
	url    string
	client *s3.Client
}

func startGateway(t *testing.T) *gateway {
	t.Helper()
	server := testkit.StartS3(t, "us-east-1", "models")
	g := &gateway{url: server.URL}
	s := &store{settings: wire.S3{Endpoint: g.url, Region: "us-east-1", PathStyle: true}}
	var err error
	if g.client, err = s.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *gateway) put(t *testing.T, key string, data []byte) {
	t.Helper()
	if _, err := g.client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("models"), Key: &key, Body: bytes.NewReader(data),
	}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// proxy stands between node and store and can cause faults.
type proxy struct {
	url   string
	bytes atomic.Int64 // of objects that passed through it
	gets  atomic.Int64 // of objects
	heads atomic.Int64
	// inFlight is how many requests for objects are under way, most how many ever were.
	inFlight, most atomic.Int64
	cut            atomic.Int64 // if >0: end each object's response after this many bytes
	// gate, if set, delays an object request until it returns.
	gate atomic.Pointer[func(*http.Request)]
	fail atomic.Int64 // this many requests get 503
	// spoil changes the first byte of each object.
	spoil atomic.Bool
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the signature covers it
		},
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode/100 == 2 && ofObject(r.Request) {
				p.gets.Add(1)
				r.Body = &cutter{ReadCloser: r.Body, p: p, left: p.cut.Load(), first: true}
			}
			return nil
		},
		FlushInterval: -1, // the bytes before the cut must be sent
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.fail.Add(-1) >= 0 {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		if ofObject(r) {
			now := p.inFlight.Add(1)
			defer p.inFlight.Add(-1)
			for most := p.most.Load(); now > most && !p.most.CompareAndSwap(most, now); most = p.most.Load() {
			}
		}
		if r.Method == http.MethodHead {
			p.heads.Add(1)
		}
		if gate := p.gate.Load(); gate != nil && ofObject(r) {
			(*gate)(r)
		}
		// The cut is intended: keep it out of the test's output.
		defer func() {
			if v := recover(); v != nil {
				panic(http.ErrAbortHandler)
			}
		}()
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// ofObject reports whether a request reads an object, or a part of it.
func ofObject(r *http.Request) bool {
	return r.Method == http.MethodGet && !r.URL.Query().Has("list-type")
}

type cutter struct {
	io.ReadCloser
	p     *proxy
	left  int64
	first bool
}

func (c *cutter) Read(b []byte) (int, error) {
	limited := c.left > 0
	if limited && int64(len(b)) > c.left {
		b = b[:c.left]
	}
	n, err := c.ReadCloser.Read(b)
	if n > 0 && c.first && c.p.spoil.Load() {
		b[0]++
	}
	c.first = false
	c.p.bytes.Add(int64(n))
	if limited {
		if c.left -= int64(n); c.left <= 0 {
			return n, errors.New("cut")
		}
	}
	return n, err
}

// node is a node's cache and one task directory on it.
type node struct {
	cache wire.Cache
	task  string
	store wire.S3
}

func newNode(t *testing.T, endpoint string) *node {
	return &node{
		cache: wire.Cache{Dir: filepath.Join(t.TempDir(), "cache")}, task: t.TempDir(),
		store: wire.S3{Endpoint: endpoint, Region: "us-east-1", PathStyle: true},
	}
}

func (n *node) request(items ...wire.Content) Request {
	return Request{Store: n.store, Items: items, Cache: n.cache, TaskDir: n.task, Patience: 20 * time.Second}
}

func (n *node) objects(t *testing.T) []string { return names(t, filepath.Join(n.cache.Dir, "objects")) }
func (n *node) partial(t *testing.T) []string { return names(t, filepath.Join(n.cache.Dir, downloads)) }

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

// fetchOK fetches, and keeps the hold until the test ends.
func fetchOK(t *testing.T, req Request) *Hold {
	t.Helper()
	hold, err := fetchAndKeep(t.Context(), req)
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	t.Cleanup(func() { _ = hold.Close() })
	return hold
}

// fetchFails expects that a fetch fails with code.
func fetchFails(t *testing.T, req Request, code string) wire.End {
	t.Helper()
	hold, err := fetchAndKeep(t.Context(), req)
	if err == nil {
		hold.Close()
		t.Fatalf("fetch succeeded, want %s", code)
	}
	var end wire.End
	if !errors.As(err, &end) || end.Code != code || end.Reason != wire.ReasonError {
		t.Fatalf("fetch: %v, want code %s", err, code)
	}
	return end
}

func wantFile(t *testing.T, path string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%s differs: %d bytes, want %d", path, len(got), len(data))
	}
}

// noise returns size bytes that do not compress and depend on seed.
func noise(size int, seed byte) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// fetchAndKeep fetches, and waits until it is in the cache.
func fetchAndKeep(ctx context.Context, req Request) (*Hold, error) {
	hold, err := Fetch(ctx, req)
	if err != nil {
		return nil, err
	}
	return hold, hold.Keep()
}
