package setup

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/hashicorp/hc-install/product"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site stands in for the release site. It has one version of hello.
type site struct {
	files    map[string][]byte // by path
	key      string
	requests atomic.Int32
	// serve replaces the answer to a request where it returns true.
	serve func(w http.ResponseWriter, r *http.Request) bool
}

// The files of hello 1.2.3.
const (
	archivePath = "/hello/1.2.3/hello_1.2.3_" + runtime.GOOS + "_" + runtime.GOARCH + ".zip"
	indexPath   = "/hello/1.2.3/index.json"
	sumsPath    = "/hello/1.2.3/hello_1.2.3_SHA256SUMS"
)

func newSite(t *testing.T, version string) *site {
	t.Helper()
	of := func(path string) string { return strings.ReplaceAll(path, "1.2.3", version) }
	archivePath, indexPath, sumsPath := of(archivePath), of(indexPath), of(sumsPath)
	signer, err := openpgp.NewEntity("releases", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var key, archive, signature bytes.Buffer
	block, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(signer.Serialize(block), block.Close()); err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(&archive)
	for name, text := range map[string]string{"hello": "#!/bin/sh\necho Hello v" + version + "\n", "LICENSE.txt": "free\n"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sums := fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(archive.Bytes()), filepath.Base(archivePath))
	if err := openpgp.DetachSign(&signature, signer, bytes.NewReader(sums), nil); err != nil {
		t.Fatal(err)
	}
	index, err := json.Marshal(map[string]any{
		"name": "hello", "version": version, "shasums": filepath.Base(sumsPath), "shasums_signature": filepath.Base(sumsPath) + ".sig",
		"builds": []map[string]string{{
			"name": "hello", "version": version, "os": runtime.GOOS, "arch": runtime.GOARCH,
			"filename": filepath.Base(archivePath), "url": "https://releases.example" + archivePath,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &site{key: key.String(), files: map[string][]byte{
		indexPath: index, sumsPath: sums, sumsPath + ".sig": signature.Bytes(), archivePath: archive.Bytes(),
	}}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.serve != nil && s.serve(w, r) {
		return
	}
	file, ok := s.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", map[string]string{".json": "application/json", ".zip": "application/zip"}[filepath.Ext(r.URL.Path)])
	w.Write(file)
}

// finder finds tools that the site has. The source of hello is there as well, so that
// it is seen whether it would be built.
func (s *site) finder(t *testing.T) (f finder, it tool, log *strings.Builder) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	root, it := pinned(t, hello)
	it.release = &product.Product{Name: "hello", BinaryName: func() string { return "hello" }}
	log = new(strings.Builder)
	r := &releases{url: server.URL, key: s.key, dial: time.Second, stall: 10 * time.Second, all: time.Minute}
	return finder{root: root, dir: t.TempDir(), releases: r, out: newOutput(log)}, it, log
}

// only fails the test where there are other files in dir than these.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, want) {
		t.Errorf("%s holds %q, want %q", dir, names, want)
	}
}

func TestRelease(t *testing.T) {
	s := newSite(t, "1.2.3")
	f, it, log := s.finder(t)
	f.out.terminal = true
	f.out.every = time.Nanosecond
	path, err := f.find(t.Context(), it)
	if err != nil {
		t.Fatal(err)
	}
	if path != filepath.Join(f.dir, "hello-v1.2.3") || it.installed(t.Context(), path) != "v1.2.3" {
		t.Errorf("path %s", path)
	}
	for _, want := range []string{
		"hello v1.2.3: downloading the official release from http://127.0.0.1:",
		"[####################] 0 of 0 MB", // it is small
		"hello v1.2.3: official release, checksum and signature verified; kept in " + f.dir,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	only(t, f.dir, ".hello.lock", "hello", "hello-v1.2.3")
	if target, err := os.Readlink(filepath.Join(f.dir, "hello")); err != nil || target != "hello-v1.2.3" {
		t.Errorf("hello links to %q, %v", target, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	before := s.requests.Load()
	if again, err := f.find(t.Context(), it); err != nil || again != path || s.requests.Load() != before {
		t.Errorf("the second time: %s, %v, %d further requests", again, err, s.requests.Load()-before)
	}
}

// A release that is not what was signed is an error. It is not installed, and nothing
// is built in its place.
func TestBadRelease(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(s *site)
		want  string
	}{
		"checksum": {func(s *site) { s.files[archivePath] = append(s.files[archivePath], 0) }, "checksum does not match"},
		"signature of another key": {func(s *site) {
			other := newSite(t, "1.2.3")
			s.files[sumsPath+".sig"] = other.files[sumsPath+".sig"]
		}, "signature"},
		"no signature at all":      {func(s *site) { s.files[sumsPath+".sig"] = []byte("later") }, "signature"},
		"an empty signature":       {func(s *site) { s.files[sumsPath+".sig"] = nil }, "signature"},
		"sums that are not signed": {func(s *site) { s.files[sumsPath] = append(s.files[sumsPath], '\n') }, "signature"},
		"an older release": {func(s *site) {
			other := newSite(t, "1.2.2")
			s.files, s.key = other.files, other.key
			s.files[indexPath] = s.files["/hello/1.2.2/index.json"]
		}, "it is v1.2.2 (pinned is v1.2.3)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "1.2.3")
			c.spoil(s)
			f, it, log := s.finder(t)
			path, err := f.find(t.Context(), it)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "refused and not installed") || !strings.Contains(err.Error(), "NEARCAST_RELEASES_URL=off") {
				t.Errorf("%s, %v; want %s", path, err, c.want)
			}
			if strings.Contains(log.String(), "building") {
				t.Errorf("it is built:\n%s", log)
			}
			only(t, f.dir, ".hello.lock")
		})
	}
}

// Without a release the tool is built from source, at once or after a few seconds, and
// the log says why.
func TestNoRelease(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}
	for name, c := range map[string]struct {
		change func(s *site, r *releases)
		want   string
	}{
		"refused":             {func(_ *site, r *releases) { r.url = refused(t) }, "connection refused"},
		"packets are dropped": {func(_ *site, r *releases) { r.url, r.dial = dropped(t), 200*time.Millisecond }, "i/o timeout"},
		"no such version":     {func(s *site, _ *releases) { delete(s.files, indexPath) }, "404 Not Found"},
		"no archive":          {func(s *site, _ *releases) { delete(s.files, archivePath) }, "404 Not Found"},
		"no build for this machine": {func(s *site, _ *releases) {
			s.files[indexPath] = bytes.ReplaceAll(s.files[indexPath], []byte(`"os":"`+runtime.GOOS), []byte(`"os":"plan9`))
		}, "no ZIP archive found"},
		"a page that asks for a login": {func(s *site, _ *releases) {
			s.serve = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, "<html>")
				return true
			}
		}, "unexpected Content-Type"},
		"no answer": {func(s *site, r *releases) {
			s.serve, r.stall = hang, 50*time.Millisecond
		}, "nothing arrives for 50ms"},
		"half an archive": {func(s *site, r *releases) {
			r.stall = 50 * time.Millisecond
			s.serve = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != archivePath {
					return false
				}
				file := s.files[archivePath]
				w.Header().Set("Content-Type", "application/zip")
				w.Header().Set("Content-Length", fmt.Sprint(len(file)))
				w.Write(file[:len(file)/2])
				w.(http.Flusher).Flush()
				return hang(w, r)
			}
		}, "nothing arrives for 50ms"},
		"a connection that breaks": {func(s *site, _ *releases) {
			s.serve = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == archivePath {
					w.Header().Set("Content-Type", "application/zip")
					w.Header().Set("Content-Length", "1000000")
					w.Write(s.files[archivePath])
				}
				return r.URL.Path == archivePath
			}
		}, "unexpected EOF"},
		"turned off": {func(_ *site, r *releases) { r.url = "" }, "releases are turned off by NEARCAST_RELEASES_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "1.2.3")
			f, it, log := s.finder(t)
			c.change(s, f.releases)
			path, err := f.find(t.Context(), it)
			if err != nil || path != filepath.Join(f.dir, "hello-v1.2.3") {
				t.Fatalf("%s, %v", path, err)
			}
			found := false
			for line := range strings.Lines(log.String()) {
				found = found || strings.HasPrefix(line, "hello v1.2.3: ") && strings.Contains(line, c.want) &&
					strings.HasSuffix(line, "; building from source, about 0 min on two cores\n")
			}
			if !found || !strings.Contains(log.String(), "built from source") {
				t.Errorf("the log does not say %q:\n%s", c.want, log)
			}
			only(t, f.dir, ".hello.lock", "hello", "hello-v1.2.3")
		})
	}
}

// refused is a URL where nothing listens.
func refused(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// dropped is a URL whose packets are dropped: of a socket whose queue is full.
func dropped(t *testing.T) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", address.(*unix.SockaddrInet4).Port)
	for range 16 {
		c, err := net.DialTimeout("tcp", at, 200*time.Millisecond)
		if err != nil {
			return "http://" + at
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

// A site that does not answer for one tool is not tried for the next. One that has no
// release of a tool may have one of the next.
func TestUnreachableOnce(t *testing.T) {
	for want, c := range map[string]struct {
		requests int32
		serve    func(w http.ResponseWriter, r *http.Request)
	}{
		"nothing arrives": {1, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"404 Not Found":   {2, http.NotFound},
	} {
		s := newSite(t, "1.2.3")
		f, it, _ := s.finder(t)
		f.releases.stall = 50 * time.Millisecond
		s.serve = func(w http.ResponseWriter, r *http.Request) bool {
			c.serve(w, r)
			return true
		}
		for range 2 {
			if _, err := f.download(t.Context(), it, "v1.2.3"); !errors.As(err, new(unavailable)) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if n := s.requests.Load(); n != c.requests {
			t.Errorf("%s: %d requests, want %d", want, n, c.requests)
		}
	}
}

// A version between releases has none.
func TestPseudoVersion(t *testing.T) {
	f, it, _ := newSite(t, "1.2.3").finder(t)
	if _, err := f.download(t.Context(), it, "v1.2.4-0.20261128052442-380104d3a1b2"); !errors.As(err, new(unavailable)) {
		t.Errorf("download: %v", err)
	}
}

func TestReleasesFromEnv(t *testing.T) {
	if r := releasesFromEnv(); os.Getenv(releasesEnv) == "" && r.url != releasesURL {
		t.Errorf("url %q", r.url)
	}
	for value, want := range map[string]string{"": "", "off": "", "https://mirror.example/hashicorp/": "https://mirror.example/hashicorp"} {
		t.Setenv(releasesEnv, value)
		if r := releasesFromEnv(); r.url != want || r.key != "" {
			t.Errorf("%q: url %q, key %q", value, r.url, r.key)
		}
	}
}
