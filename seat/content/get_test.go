package content

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Requests for objects are made without the SDK's steps, but for buckets that sign in
// another way.
func TestPlacesOfBuckets(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	for name, c := range map[string]struct {
		settings wire.S3
		bucket   string
		url      string
		sdk      bool
	}{
		"AWS":                     {wire.S3{Region: "eu-central-1"}, "content", "https://content.s3.eu-central-1.amazonaws.com", false},
		"AWS, a name with dots":   {wire.S3{Region: "eu-central-1"}, "con.tent", "https://s3.eu-central-1.amazonaws.com/con.tent", false},
		"another store":           {wire.S3{Endpoint: "http://store:9000", PathStyle: true}, "content", "http://store:9000/content", false},
		"a store below a path":    {wire.S3{Endpoint: "http://store:9000/s3", PathStyle: true}, "content", "http://store:9000/s3/content", false},
		"a directory bucket":      {wire.S3{Region: "us-east-1"}, "content--use1-az4--x-s3", "https://content--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", true},
		"a store by its own name": {wire.S3{Endpoint: "http://store:9000"}, "content", "http://content.store:9000", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{settings: c.settings}
			_, err := s.open(t.Context())
			testkit.Must(t, err)
			at, err := s.getter.place(t.Context(), c.bucket)
			testkit.Must(t, err)
			if at.url.String() != c.url || at.sdk != c.sdk {
				t.Errorf("%s, by the SDK: %v; want %s, %v", at.url.String(), at.sdk, c.url, c.sdk)
			}
		})
	}
}

// Keys that must be written in another way in a URL. The store checks the signature.
func TestKeysInURLs(t *testing.T) {
	g := startGateway(t)
	n := newNode(t, g.url)
	var agents []string
	p := startProxy(t, g.url)
	gate := func(r *http.Request) { agents = append(agents, r.UserAgent()) }
	p.gate.Store(&gate)
	for i, key := range []string{"a b", "a+b", "ä/ö", "100%", "q?x=1&y", "h#1", "c:d;e@f", "(x)!'*~", "k=v,$"} {
		g.put(t, key, []byte(key))
		dest := filepath.Join("local", string(rune('a'+i)))
		fetchOK(t, n.request(wire.Content{Source: "s3://models/" + key, Destination: dest}))
		wantFile(t, filepath.Join(n.task, dest), []byte(key))
	}
	n.store.Endpoint = p.url
	g.put(t, "m", []byte("m"))
	fetchOK(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}))
	if len(agents) != 1 || agents[0] != "nearcast" {
		t.Errorf("requests by %q", agents)
	}
}

// The clock of a node is wrong. The SDK corrects that.
func TestClockIsWrong(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", []byte("m"))
	to, err := url.Parse(g.url)
	testkit.Must(t, err)
	reverse := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	var refused atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() == "nearcast" {
			refused.Add(1)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code></Error>")
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	n := newNode(t, server.URL)
	fetchOK(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}))
	wantFile(t, filepath.Join(n.task, "m"), []byte("m"))
	if refused.Load() != 1 {
		t.Errorf("%d requests were refused", refused.Load())
	}
}
