package content

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// What was fetched ahead is only linked for a seat.
func TestAhead(t *testing.T) {
	g := startGateway(t)
	small, large := noise(1000, 1), noise(2*wholeSize+5, 2)
	g.put(t, "app/a/small", small)
	g.put(t, "app/large", large)
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	item := wire.Content{Source: "s3://models/app/", Destination: "local"}
	ahead := n.request(item)
	ahead.Ahead = true
	var last, of atomic.Int64
	ahead.Progress = func(done, total int64, _ string) { last.Store(done); of.Store(total) }
	hold, err := fetchAndKeep(t.Context(), ahead)
	testkit.Must(t, err)
	testkit.Must(t, hold.Close())
	if left := names(t, n.task); len(left) != 0 {
		t.Errorf("below the task's directory: %v", left)
	}
	if got := n.objects(t); len(got) != 2 || len(n.partial(t)) != 0 {
		t.Errorf("in the cache: %v, downloads %v", got, n.partial(t))
	}
	if all := int64(len(small) + len(large)); last.Load() != all || of.Load() != all {
		t.Errorf("progress ended at %d of %d", last.Load(), of.Load())
	}

	before := p.bytes.Load()
	fetchOK(t, n.request(item))
	wantFile(t, filepath.Join(n.task, "local/a/small"), small)
	wantFile(t, filepath.Join(n.task, "local/large"), large)
	if again := p.bytes.Load() - before; again > 10_000 { // the listing
		t.Errorf("the seat fetched %d bytes", again)
	}
}

// A fetch ahead stands back while a seat fetches, also with an object that the seat wants
// and that it has begun. It goes on afterwards.
func TestAheadYields(t *testing.T) {
	g := startGateway(t)
	shared, own := noise(6*minPart, 3), noise(1000, 4)
	g.put(t, "shared", shared)
	g.put(t, "own", own)
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	begun, seat, open := make(chan struct{}, 100), make(chan struct{}), make(chan struct{})
	came := sync.OnceFunc(func() { close(seat) })
	var parts atomic.Int64
	gate := func(r *http.Request) {
		if r.Method != http.MethodGet {
			return
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/own"): // of the seat
			came() // also for a request that is made again
			select {
			case <-open:
			case <-r.Context().Done():
			}
		case strings.HasSuffix(r.URL.Path, "/shared"):
			number := parts.Add(1)
			begun <- struct{}{}
			switch {
			case number == 1: // ends when the seat comes: then another part would begin
				select {
				case <-seat:
				case <-r.Context().Done():
				}
			case number <= aheadInFlight: // end only when they are given up
				select {
				case <-open:
				case <-r.Context().Done():
				}
			}
		}
	}
	p.gate.Store(&gate)

	ahead := n.request(wire.Content{Source: "s3://models/shared", Destination: "x"})
	ahead.Ahead = true
	done := make(chan error, 1)
	go func() {
		hold, err := fetchAndKeep(t.Context(), ahead)
		if err == nil {
			err = hold.Close()
		}
		done <- err
	}()
	for range aheadInFlight {
		<-begun
	}
	req := n.request(wire.Content{Source: "s3://models/own", Destination: "own"}, wire.Content{Source: "s3://models/shared", Destination: "shared"})
	fetched := make(chan error, 1)
	go func() {
		hold, err := fetchAndKeep(t.Context(), req)
		if err == nil {
			err = hold.Close()
		}
		fetched <- err
	}()
	<-seat
	// The seat gets the object from the fetch ahead, which has one of six parts at most.
	testkit.Until(t, "the seat downloads the object", func() bool { return parts.Load() >= aheadInFlight+5 })
	select {
	case err := <-done:
		t.Errorf("the fetch ahead ended while a seat fetched: %v", err)
	default:
	}
	close(open)
	testkit.Must(t, <-fetched)
	testkit.Must(t, <-done)
	wantFile(t, filepath.Join(n.task, "shared"), shared)
	wantFile(t, filepath.Join(n.task, "own"), own)
}

// A fetch ahead takes no room that seats need, and not most of the cache.
func TestAheadIsBounded(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", noise(300_000, 5))
	g.put(t, "seat", noise(800_000, 6))
	n := newNode(t, g.url)
	ahead := n.request(wire.Content{Source: "s3://models/m", Destination: "m"})
	ahead.Ahead = true
	refused := func(max int64) {
		t.Helper()
		ahead.Cache.MaxBytes = max
		_, err := fetchAndKeep(t.Context(), ahead)
		var end wire.End
		if !errors.As(err, &end) || end.Code != wire.CodeDiskFull {
			t.Errorf("with %d bytes: %v", max, err)
		}
	}
	refused(500_000) // more than half
	n.cache.MaxBytes = 1_000_000
	hold := fetchOK(t, n.request(wire.Content{Source: "s3://models/seat", Destination: "seat"}))
	refused(1_000_000) // beside what a seat uses
	if got := n.objects(t); len(got) != 1 {
		t.Errorf("in the cache: %v", got)
	}
	testkit.Must(t, hold.Close())

	// Nobody uses it any more, so it makes room.
	ahead.Cache.MaxBytes = 1_000_000
	_, err := fetchAndKeep(t.Context(), ahead)
	testkit.Must(t, err)
	if got := n.cached(t); got != 300_000 {
		t.Errorf("%d bytes are in the cache", got)
	}
	// And makes room itself for a seat.
	req := n.request(wire.Content{Source: "s3://models/seat", Destination: "again"})
	hold = fetchOK(t, req)
	defer hold.Close()
	if _, err := os.Stat(filepath.Join(n.task, "again")); err != nil {
		t.Error(err)
	}
	if got := n.cached(t); got != 800_000 {
		t.Errorf("%d bytes are in the cache", got)
	}
}

// cached is how many bytes are in the cache.
func (n *node) cached(t *testing.T) (bytes int64) {
	t.Helper()
	for _, name := range n.objects(t) {
		info, err := os.Stat(filepath.Join(n.cache.Dir, "objects", name))
		testkit.Must(t, err)
		bytes += info.Size()
	}
	return bytes
}

// What a fetch ahead finds in the cache counts as used now: others are evicted for it.
func TestAheadKeepsWhatIsThere(t *testing.T) {
	g := startGateway(t)
	g.put(t, "app/there", noise(200_000, 8))
	g.put(t, "other", noise(700_000, 9))
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	n.cache.MaxBytes = 1_000_000
	for _, key := range []string{"app/", "other"} {
		testkit.Must(t, fetchOK(t, n.request(wire.Content{Source: "s3://models/" + key, Destination: key})).Close())
	}
	g.put(t, "app/new", noise(200_000, 10))
	p.gets.Store(0)
	ahead := n.request(wire.Content{Source: "s3://models/app/", Destination: "app"})
	ahead.Ahead = true
	fetchOK(t, ahead)
	if got := n.cached(t); got != 400_000 || p.gets.Load() != 1 {
		t.Errorf("%d bytes are in the cache, after %d requests", got, p.gets.Load())
	}
}

// A fetch ahead of many small objects has few of them on their way, and stands back too.
func TestAheadOfSmallObjectsYields(t *testing.T) {
	g := startGateway(t)
	const count = 40
	for i := range count {
		g.put(t, fmt.Sprintf("app/%d", i), noise(1000, byte(i)))
	}
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	begun, open := make(chan struct{}, count), make(chan struct{})
	gate := func(r *http.Request) {
		begun <- struct{}{}
		select {
		case <-open:
		case <-r.Context().Done():
		}
	}
	p.gate.Store(&gate)
	ahead := n.request(wire.Content{Source: "s3://models/app/", Destination: "app"})
	ahead.Ahead = true
	done := make(chan error, 1)
	go func() {
		_, err := fetchAndKeep(t.Context(), ahead)
		done <- err
	}()
	for range aheadInFlight {
		<-begun
	}
	c, err := openCache(n.cache)
	testkit.Must(t, err)
	seat, err := c.openKeyLocks()
	testkit.Must(t, err)
	testkit.Must(t, seat.share())
	close(open)
	testkit.Until(t, "the requests that were on their way end", func() bool { return p.inFlight.Load() == 0 })
	// What is not on its way does not begin: the arrivals are kept meanwhile.
	testkit.Until(t, "the arrivals are in the cache", func() bool { return len(n.objects(t)) >= aheadInFlight })
	if got := p.gets.Load(); got != aheadInFlight {
		t.Errorf("%d requests, while a seat fetched", got)
	}
	testkit.Must(t, seat.close())
	testkit.Must(t, <-done)
	if got := len(n.objects(t)); got != count || p.most.Load() > aheadInFlight {
		t.Errorf("%d objects, %d requests at once", got, p.most.Load())
	}
}

// Seats need the room of a fetch ahead while it goes on. It keeps what it can, and says why
// that is not all.
func TestAheadIsEvictedMeanwhile(t *testing.T) {
	g := startGateway(t)
	g.put(t, "app/1", noise(1000, 1))
	g.put(t, "app/2", noise(1000, 2))
	p := startProxy(t, g.url)
	n := newNode(t, p.url)
	gate := func(r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/2") {
			return
		}
		for _, name := range n.partial(t) { // as eviction does
			_ = os.Remove(filepath.Join(n.cache.Dir, downloads, name))
		}
	}
	p.gate.Store(&gate)
	ahead := n.request(wire.Content{Source: "s3://models/app/", Destination: "app"})
	ahead.Ahead = true
	end := fetchFails(t, ahead, wire.CodeDiskFull)
	if !strings.Contains(end.Detail, "max_size") {
		t.Errorf("it says %q", end.Detail)
	}
	p.gate.Store(nil)
	if _, err := fetchAndKeep(t.Context(), ahead); err != nil || len(n.objects(t)) != 2 {
		t.Errorf("again: %v, %v", err, n.objects(t))
	}
}

// Two fetches ahead of one node follow each other, and one that waits can be cancelled.
func TestAheadOneAtATime(t *testing.T) {
	g := startGateway(t)
	g.put(t, "m", noise(1000, 7))
	n := newNode(t, g.url)
	c, err := openCache(n.cache)
	testkit.Must(t, err)
	locks, err := c.openKeyLocks()
	testkit.Must(t, err)
	testkit.Must(t, locks.alone(t.Context()))
	ahead := n.request(wire.Content{Source: "s3://models/m", Destination: "m"})
	ahead.Ahead = true
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := fetchAndKeep(ctx, ahead); !errors.Is(err, context.DeadlineExceeded) || len(n.objects(t)) != 0 {
		t.Errorf("it did not wait: %v, %v", err, n.objects(t))
	}
	testkit.Must(t, locks.close())
	_, err = fetchAndKeep(t.Context(), ahead)
	testkit.Must(t, err)
}

// Empty objects bring no bytes, and a store that answers each request is not one that sends nothing.
func TestManyEmptyObjects(t *testing.T) {
	g := startGateway(t)
	const count = 220
	for i := range count {
		g.put(t, fmt.Sprintf("set/%03d", i), nil)
	}
	p := startProxy(t, g.url)
	far := func(*http.Request) { <-time.After(60 * time.Millisecond) } // so there is always a request under way
	p.gate.Store(&far)
	n := newNode(t, p.url)
	ahead := n.request(wire.Content{Source: "s3://models/set/", Destination: "set"})
	ahead.Ahead, ahead.Patience = true, 2*time.Second
	began := time.Now()
	fetchOK(t, ahead)
	if took := time.Since(began); took < ahead.Patience || len(n.objects(t)) != count {
		t.Errorf("%d files in %s: too few, or too quick to show anything", len(n.objects(t)), took)
	}
}
