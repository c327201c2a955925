package content

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Of many small objects, each is one request, and many are under way at once.
func TestManySmallObjects(t *testing.T) {
	g := startGateway(t)
	const count = 200
	for i := range count {
		g.put(t, fmt.Sprintf("set/%02d/%03d", i/50, i), noise(1000+i, byte(i)))
	}
	p := startProxy(t, g.url)
	// Until so many are under way, none is answered.
	release := make(chan struct{})
	var once sync.Once
	gate := func(*http.Request) {
		if p.inFlight.Load() >= firstInFlight {
			once.Do(func() { close(release) })
		}
		select {
		case <-release:
		case <-time.After(20 * time.Second):
		}
	}
	p.gate.Store(&gate)
	n := newNode(t, p.url)
	set := wire.Content{Source: "s3://models/set/", Destination: "local/set"}
	fetchOK(t, n.request(set))
	for i := range count {
		wantFile(t, filepath.Join(n.task, fmt.Sprintf("local/set/%02d/%03d", i/50, i)), noise(1000+i, byte(i)))
	}
	if gets, heads := p.gets.Load(), p.heads.Load(); gets != count || heads != 0 {
		t.Errorf("%d GET and %d HEAD requests for %d objects", gets, heads, count)
	}
	if most := p.most.Load(); most < firstInFlight || most > maxInFlight {
		t.Errorf("%d requests were under way at once", most)
	}
	if left := n.partial(t); len(left) != 0 {
		t.Errorf("left of the downloads: %v", left)
	}

	again := n.request(set)
	again.TaskDir = t.TempDir()
	fetchOK(t, again)
	wantFile(t, filepath.Join(again.TaskDir, "local/set/03/199"), noise(1199, 199))
	if gets := p.gets.Load(); gets != count {
		t.Errorf("the second seat made %d requests", gets-count)
	}
}

// What the store has as the checksum of a small object is checked too.
func TestSmallObjectIsVerified(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", noise(5000, 1))
	p := startProxy(t, g.url)
	p.spoil.Store(true)
	n := newNode(t, p.url)
	fetchFails(t, n.request(wire.Content{Source: "s3://models/m", Destination: "m"}), wire.CodeContentChecksum)
	if len(n.objects(t)) != 0 || len(n.partial(t)) != 0 || len(names(t, n.task)) != 0 {
		t.Errorf("left: %v %v %v", n.objects(t), n.partial(t), names(t, n.task))
	}
}

// A fetch that is cancelled asks the store for nothing more, and what arrived is kept.
func TestCancelledFetchKeepsWhatArrived(t *testing.T) {
	g := startGateway(t)
	const count = 100
	for i := range count {
		g.put(t, fmt.Sprintf("set/%03d", i), noise(1000, byte(i)))
	}
	p := startProxy(t, g.url)
	release := make(chan struct{})
	var begun atomic.Int64
	gate := func(r *http.Request) {
		if begun.Add(1) > 20 {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}
	p.gate.Store(&gate)
	n := newNode(t, p.url)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	req := n.request(wire.Content{Source: "s3://models/set/", Destination: "set"})
	var arrived atomic.Int64
	req.Progress = func(done, _ int64, _ string) { arrived.Store(done) }
	go func() {
		_, err := fetchAndKeep(ctx, req)
		ended <- err
	}()
	testkit.Until(t, "20 objects arrived", func() bool { return arrived.Load() == 20*1000 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the fetch ended with %v", err)
	}
	testkit.Until(t, "no request is under way", func() bool { return p.inFlight.Load() == 0 })
	if kept := len(n.objects(t)); kept != 20 || len(n.partial(t)) != 0 {
		t.Errorf("%d of 20 objects are kept; left of the downloads: %v", kept, n.partial(t))
	}
	kept := int64(len(n.objects(t)))
	close(release)
	p.gets.Store(0)
	req.Progress = nil
	fetchOK(t, req)
	if gets := p.gets.Load(); gets != count-kept {
		t.Errorf("%d objects came again", gets-(count-kept))
	}
}

// Of two seats that want the same objects, one leaves while it downloads them: the other
// gets all of them.
func TestOneOfTwoSeatsLeaves(t *testing.T) {
	g := startGateway(t)
	big := noise(4*minPart, 1)
	g.put(t, "set/big", big)
	for i := range 30 {
		g.put(t, fmt.Sprintf("set/%03d", i), noise(1000, byte(i)))
	}
	p := startProxy(t, g.url)
	hold := make(chan struct{})
	gate := func(r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}
	p.gate.Store(&gate)
	n := newNode(t, p.url)
	fetch := func(ctx context.Context) (task string, ended chan error) {
		req := n.request(wire.Content{Source: "s3://models/set/", Destination: "set"})
		req.TaskDir = t.TempDir()
		ended = make(chan error, 1)
		go func() {
			hold, err := fetchAndKeep(ctx, req)
			if err == nil {
				err = hold.Close()
			}
			ended <- err
		}()
		return req.TaskDir, ended
	}
	ctx, leave := context.WithCancel(t.Context())
	_, first := fetch(ctx)
	testkit.Until(t, "the first seat downloads", func() bool { return p.inFlight.Load() >= 31 })
	task, second := fetch(t.Context())
	testkit.Until(t, "the second seat wants the same", func() bool { return len(names(t, filepath.Join(n.cache.Dir, "uses"))) == 2 })
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Fatalf("the first ended with %v", err)
	}
	close(hold)
	if err := <-second; err != nil {
		t.Fatalf("the second ended with %v", err)
	}
	wantFile(t, filepath.Join(task, "set/big"), big)
	wantFile(t, filepath.Join(task, "set/029"), noise(1000, 29))
	if left := n.partial(t); len(left) != 0 {
		t.Errorf("left of the downloads: %v", left)
	}
}

// asked is a store with more requests than any limit lets in.
type asked struct {
	*pace
	now    time.Time
	answer chan bool // whether the store refuses
	ended  chan struct{}
}

func askMuch(t *testing.T) *asked {
	a := &asked{pace: newPace(), now: time.Unix(1000, 0), answer: make(chan bool), ended: make(chan struct{})}
	a.pace.now = func() time.Time { return a.now }
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 * maxInFlight {
		all.Go(func() {
			for a.begin(ctx) == nil {
				select {
				case refused := <-a.answer:
					a.end(10_000, refused)
					a.ended <- struct{}{}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	t.Cleanup(all.Wait)
	t.Cleanup(cancel)
	testkit.Until(t, "requests wait", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.inFlight == a.limit && len(a.waiting) == 2*maxInFlight-a.limit
	})
	return a
}

func (a *asked) allowed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit
}

// window is one in which the store answers so many requests a second.
func (a *asked) window(rate float64, refused bool) {
	for range max(a.allowed(), int(rate*paceWindow.Seconds())) + 2 {
		a.now = a.now.Add(time.Duration(float64(time.Second) / rate))
		a.answer <- refused
		<-a.ended
	}
}

func TestPaceFollowsTheStore(t *testing.T) {
	// A store that is far away answers as many as are asked at once.
	a := askMuch(t)
	for range 40 {
		a.window(float64(a.allowed())/0.02, false)
	}
	if limit := a.allowed(); limit != maxInFlight {
		t.Errorf("the limit for a store that takes all is %d", limit)
	}
	a.now = a.now.Add(2 * time.Second)
	a.window(1000, true)
	if limit := a.allowed(); limit >= maxInFlight || limit < minInFlight {
		t.Errorf("after refusals the limit is %d", limit)
	}
	// More at once bring no more from this one.
	a = askMuch(t)
	for range 10 {
		a.window(1000, false)
	}
	if limit := a.allowed(); limit > 2*firstInFlight {
		t.Errorf("the limit for a store that takes 1000 a second is %d", limit)
	}
}

func TestManifest(t *testing.T) {
	g := startGateway(t)
	publish := func(files map[string]string) string {
		var list []wire.ManifestFile
		for path, text := range files {
			f := wire.ManifestFile{Path: path, Size: int64(len(text)), SHA256: sum([]byte(text))}
			if path == "bin/run" {
				f.Mode = wire.ModeProgram
			}
			g.put(t, "app/"+wire.ObjectKey(f.SHA256), []byte(text))
			list = append(list, f)
		}
		text, id, err := wire.NewManifest(list)
		if err != nil {
			t.Fatal(err)
		}
		g.put(t, "app/"+wire.ManifestKey(id), text)
		return "sha256:" + id
	}
	old := publish(map[string]string{"bin/run": "#!/bin/sh", "data/a": "one", "data/same": "one"})
	current := publish(map[string]string{"bin/run": "#!/bin/sh", "data/a": "two"})
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	item := func(manifest string) wire.Content {
		return wire.Content{Source: "s3://models/app/", Destination: "local", Manifest: manifest}
	}
	fetchOK(t, n.request(item(current)))
	wantFile(t, filepath.Join(n.task, "local/data/a"), []byte("two"))

	// The job is reverted: people see what they saw, without a request for what is there.
	n.task = t.TempDir()
	fetchOK(t, n.request(item(old))).Close()
	wantFile(t, filepath.Join(n.task, "local/data/a"), []byte("one"))
	wantFile(t, filepath.Join(n.task, "local/data/same"), []byte("one"))
	if info, err := os.Stat(filepath.Join(n.task, "local/bin/run")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("the program has mode %v (%v)", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(n.task, "local/data/a")); err != nil || info.Mode().Perm() != 0o444 {
		t.Errorf("the file has mode %v (%v)", info.Mode(), err)
	}
	n.store.Endpoint, n.task = "http://"+testkit.Address(t), t.TempDir()
	fetchOK(t, n.request(item(old)))

	n = newNode(t, g.url)
	fetchFails(t, n.request(item("sha256:"+sum([]byte("other")))), wire.CodeContentMissing)
	fetchFails(t, n.request(item("latest")), wire.CodeConfig)
	g.put(t, "app/"+wire.ManifestKey(sum([]byte("x"))), []byte("y"))
	fetchFails(t, n.request(item("sha256:"+sum([]byte("x")))), wire.CodeContentChecksum)
	g.put(t, "app/"+wire.ObjectKey(sum([]byte("two"))), []byte("TWO"))
	fetchFails(t, n.request(item(current)), wire.CodeContentChecksum)
	g.put(t, "app/"+wire.ObjectKey(sum([]byte("two"))), []byte("longer"))
	fetchFails(t, n.request(item(current)), wire.CodeContentChecksum)
}
