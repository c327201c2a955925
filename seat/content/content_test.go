package content

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Environment of the child process that TestResumeAfterKill kills.
const (
	childEndpoint = "CONTENT_TEST_ENDPOINT"
	childCache    = "CONTENT_TEST_CACHE"
	childTask     = "CONTENT_TEST_TASK"
)

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(childEndpoint); endpoint != "" {
		_, err := fetchAndKeep(context.Background(), Request{
			Store: wire.S3{Endpoint: endpoint, Region: "us-east-1", PathStyle: true},
			Items: []wire.Content{{Source: "s3://models/big", Destination: "big"}},
			Cache: wire.Cache{Dir: os.Getenv(childCache)}, TaskDir: os.Getenv(childTask),
		})
		fmt.Println("child was not killed:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func TestFetch(t *testing.T) {
	g := startGateway(t)
	model := noise(20<<20, 1) // three parts
	g.put(t, "teapot.glb", model)
	g.put(t, "set/a.txt", []byte("a"))
	g.put(t, "set/deep/b.txt", []byte("b"))
	g.put(t, "empty", nil)
	n := newNode(t, g.url)

	var last, total atomic.Int64
	req := n.request(
		wire.Content{Source: "s3://models/teapot.glb", Destination: "local/teapot.glb", SHA256: strings.ToUpper(sum(model))},
		wire.Content{Source: "s3://models/set/", Destination: "local/set"},
		wire.Content{Source: "s3://models/empty", Destination: "local/"},
		wire.Content{Source: "s3://models/teapot.glb", Destination: "again.glb"},
	)
	req.Progress = func(done, all int64, name string) {
		if done > all || !strings.HasPrefix(name, "s3://models/") {
			t.Errorf("progress %d of %d at %s", done, all, name)
		}
		if done == all {
			last.Store(done)
		}
		total.Store(all)
	}
	fetchOK(t, req)

	wantFile(t, filepath.Join(n.task, "local/teapot.glb"), model)
	wantFile(t, filepath.Join(n.task, "again.glb"), model)
	wantFile(t, filepath.Join(n.task, "local/set/a.txt"), []byte("a"))
	wantFile(t, filepath.Join(n.task, "local/set/deep/b.txt"), []byte("b"))
	wantFile(t, filepath.Join(n.task, "local/empty"), nil)
	if last.Load() != total.Load() || total.Load() != int64(2*len(model)+2) {
		t.Errorf("progress ended at %d of %d", last.Load(), total.Load())
	}
	info, err := os.Stat(filepath.Join(n.task, "local/teapot.glb"))
	if err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("mode is %v (%v), want read-only", info.Mode(), err)
	}
	if left := n.partial(t); len(left) != 0 {
		t.Errorf("left of the downloads: %v", left)
	}
}

// A seat whose content is cached and has a sha256 starts without the store.
func TestCachedContentNeedsNoStore(t *testing.T) {
	g := startGateway(t)
	data := noise(100_000, 2)
	g.put(t, "m", data)
	n := newNode(t, g.url)
	item := wire.Content{Source: "s3://models/m", Destination: "m", SHA256: sum(data)}
	fetchOK(t, n.request(item)).Close()

	n.store.Endpoint, n.task = "http://"+testkit.Address(t), t.TempDir()
	fetchOK(t, n.request(item))
	wantFile(t, filepath.Join(n.task, "m"), data)
}

func TestLinkOrCopy(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", []byte("model"))
	n := newNode(t, g.url)
	item := wire.Content{Source: "s3://models/m", Destination: "m"}
	fetchOK(t, n.request(item))
	cached := filepath.Join(n.cache.Dir, "objects", n.objects(t)[0])
	if !sameInode(t, cached, filepath.Join(n.task, "m")) {
		t.Error("the file in the task directory is not a link to the cached one")
	}
	private := n.request(item)
	private.Private, private.TaskDir = true, t.TempDir()
	fetchOK(t, private)
	own := filepath.Join(private.TaskDir, "m")
	if sameInode(t, cached, own) {
		t.Error("the private file is a link to the cached one")
	}
	// The owner may change its copy. The cached file must not change.
	if err := os.Chmod(own, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("spoilt"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantFile(t, cached, []byte("model"))
}

func TestAppUserCannotChangeTheCache(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	g := startGateway(t)
	g.put(t, "m", []byte("model"))
	n := newNode(t, g.url)
	fetchOK(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}))
	// The app's user can enter the task directory, as in an allocation.
	for dir := n.task; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := `cat m && ! chmod u+w m 2>/dev/null && ! (echo spoilt > m) 2>/dev/null && ! ls "$CACHE" 2>/dev/null && ! rm -f m 2>/dev/null && echo kept`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = n.task, append(os.Environ(), "CACHE="+n.cache.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "modelkept\n" {
		t.Errorf("as nobody: %q, %v", out, err)
	}
}

func sameInode(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

func TestRefusals(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", []byte("model"))
	for _, c := range []struct {
		name string
		item wire.Content
		code string
		says string
	}{
		{"no object", wire.Content{Source: "s3://models/none", Destination: "m"}, wire.CodeContentMissing, "s3://models/none"},
		{"no bucket", wire.Content{Source: "s3://nowhere/m", Destination: "m"}, wire.CodeContentMissing, "s3://nowhere/m"},
		{"empty prefix", wire.Content{Source: "s3://models/none/", Destination: "m"}, wire.CodeContentMissing, "no object below"},
		{"other sha256", wire.Content{Source: "s3://models/m", Destination: "m", SHA256: sum([]byte("other"))}, wire.CodeContentChecksum, sum([]byte("model"))},
		{"malformed sha256", wire.Content{Source: "s3://models/m", Destination: "m", SHA256: "abc"}, wire.CodeConfig, "64 hex digits"},
		{"sha256 of a prefix", wire.Content{Source: "s3://models/", Destination: "m", SHA256: sum(nil)}, wire.CodeConfig, "prefix"},
		{"not S3", wire.Content{Source: "https://models/m", Destination: "m"}, wire.CodeConfig, "s3://bucket/key"},
		{"parent directory", wire.Content{Source: "s3://models/m", Destination: "../../etc/passwd"}, wire.CodeConfig, "leaves the task directory"},
		{"absolute", wire.Content{Source: "s3://models/m", Destination: "/etc/passwd"}, wire.CodeConfig, "leaves the task directory"},
		{"through a link", wire.Content{Source: "s3://models/m", Destination: "out/passwd"}, wire.CodeConfig, "symbolic link"},
		{"onto a directory", wire.Content{Source: "s3://models/m", Destination: "dir"}, wire.CodeConfig, "cannot be written"},
		{"no destination", wire.Content{Source: "s3://models/m"}, wire.CodeConfig, "destination"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, g.url)
			outside := t.TempDir()
			if err := os.Symlink(outside, filepath.Join(n.task, "out")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(n.task, "dir"), 0o755); err != nil {
				t.Fatal(err)
			}
			end := fetchFails(t, n.request(c.item), c.code)
			if !strings.Contains(end.Detail, c.says) {
				t.Errorf("detail %q does not say %q", end.Detail, c.says)
			}
			if c.code != wire.CodeConfig && len(n.objects(t)) != 0 || len(n.partial(t)) != 0 {
				t.Errorf("left in the cache: %v %v", n.objects(t), n.partial(t))
			}
			if left := names(t, outside); len(left) != 0 {
				t.Errorf("wrote outside: %v", left)
			}
			if left := names(t, n.task); !slices.Equal(left, []string{"dir", "out"}) {
				t.Errorf("left in the task directory: %v", left)
			}
		})
	}
}

func TestDenied(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", []byte("model"))
	n := newNode(t, g.url)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	end := fetchFails(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}), wire.CodeContentDenied)
	if strings.Contains(end.Detail, "wrong") {
		t.Errorf("detail contains the secret: %s", end.Detail)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	fetchFails(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}), wire.CodeContentDenied)
}

func TestStoreDown(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "nearcast-test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "nearcast-test-secret")
	n := newNode(t, "http://"+testkit.Address(t))
	req := n.request(wire.Content{Source: "s3://models/m", Destination: "m"})
	req.Patience = 2 * time.Second
	start := time.Now()
	end := fetchFails(t, req, wire.CodeContentStore)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("gave up after %v", took)
	}
	if !strings.Contains(end.Detail, "connection refused") {
		t.Errorf("detail %q does not say why", end.Detail)
	}
}

// A store that accepts the connection and then sends nothing also fails in time.
func TestStoreStalls(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", noise(1<<20, 3))
	p := startProxy(t, g.url)
	release := make(chan struct{})
	gate := func(*http.Request) { <-release }
	p.gate.Store(&gate)
	t.Cleanup(func() { close(release) })
	n := newNode(t, p.url)
	req := n.request(wire.Content{Source: "s3://models/m", Destination: "m"})
	req.Patience = time.Second
	fetchFails(t, req, wire.CodeContentStore)
}

func TestTemporaryFaults(t *testing.T) {
	g := startGateway(t)
	data := noise(1<<20, 4)
	g.put(t, "m", data)
	p := startProxy(t, g.url)
	p.fail.Store(3)
	n := newNode(t, p.url)
	fetchOK(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}))
	wantFile(t, filepath.Join(n.task, "m"), data)
}

func TestTruncated(t *testing.T) {
	g := startGateway(t)
	data := noise(1<<20, 5)
	g.put(t, "m", data)
	p := startProxy(t, g.url)
	p.cut.Store(1000)
	n := newNode(t, p.url)
	item := wire.Content{Source: "s3://models/m", Destination: "m"}
	fetchFails(t, n.request(item), wire.CodeContentTrunc)
	if len(n.objects(t)) != 0 || len(names(t, n.task)) != 0 {
		t.Errorf("a truncated file is left: %v %v", n.objects(t), names(t, n.task))
	}
	// Responses that are cut now and then make a complete file.
	p.cut.Store(400_000)
	fetchOK(t, n.request(item))
	wantFile(t, filepath.Join(n.task, "m"), data)
}

func TestResumeAfterKill(t *testing.T) {
	g := startGateway(t)
	data := noise(6*minPart+123, 6)
	g.put(t, "big", data)
	p := startProxy(t, g.url)
	release := make(chan struct{})
	var parts atomic.Int64
	// The last part has only 123 bytes: it is none of the three.
	last := fmt.Sprintf("bytes=%d-", 6*minPart)
	gate := func(r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Range"), last) || parts.Add(1) > 3 {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}
	p.gate.Store(&gate)
	n := newNode(t, p.url)

	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEndpoint+"="+p.url, childCache+"="+n.cache.Dir, childTask+"="+n.task)
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	c := &cache{dir: n.cache.Dir}
	arrived := func() int64 {
		for _, name := range n.partial(t) {
			if key, ok := strings.CutSuffix(name, partsSuffix); ok && !strings.HasSuffix(key, ".new") {
				return c.partialDone(key)
			}
		}
		return 0
	}
	testkit.Until(t, "three parts are on disk", func() bool { return arrived() >= 3*minPart })
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	close(release)
	p.gate.Store(nil)
	p.bytes.Store(0)

	fetchOK(t, n.request(wire.Content{Source: "s3://models/big", Destination: "big"}))
	wantFile(t, filepath.Join(n.task, "big"), data)
	if again := p.bytes.Load(); again > int64(len(data))-3*minPart {
		t.Errorf("%d of %d bytes came again", again, len(data))
	}
	if out.Len() > 0 {
		t.Errorf("child: %s", out.String())
	}
}

// If the object was replaced since the download was interrupted, it starts again.
func TestReplacedObject(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", noise(2*minPart, 7))
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	data := noise(2*minPart, 8)
	var once sync.Once
	gate := func(*http.Request) { once.Do(func() { g.put(t, "m", data) }) }
	p.gate.Store(&gate)
	item := wire.Content{Source: "s3://models/m", Destination: "m", SHA256: sum(data)}
	fetchOK(t, n.request(item))
	wantFile(t, filepath.Join(n.task, "m"), data)
}

func TestConcurrentSeatsDownloadOnce(t *testing.T) {
	g := startGateway(t)
	data := noise(2*minPart, 9)
	g.put(t, "m", data)
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	var wait sync.WaitGroup
	for range 8 {
		req := n.request(wire.Content{Source: "s3://models/m", Destination: "m"})
		req.TaskDir = t.TempDir()
		wait.Go(func() {
			hold, err := fetchAndKeep(t.Context(), req)
			if err != nil {
				t.Errorf("fetch: %v", err)
				return
			}
			defer hold.Close()
			if got, err := os.ReadFile(filepath.Join(req.TaskDir, "m")); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wait.Wait()
	if got := p.bytes.Load(); got != int64(len(data)) {
		t.Errorf("%d bytes passed, want %d", got, len(data))
	}
}
