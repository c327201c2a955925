package content

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestEviction(t *testing.T) {
	g := startGateway(t)
	for _, key := range []string{"a", "b", "c", "d"} {
		g.put(t, key, noise(1<<20, key[0]))
	}
	n := newNode(t, g.url)
	n.cache.MaxBytes = 2<<20 + 100
	item := func(key string) wire.Content {
		return wire.Content{Source: "s3://models/" + key, Destination: key}
	}
	a := fetchOK(t, n.request(item("a")))
	keyA := n.objects(t)[0]
	fetchOK(t, n.request(item("b"))).Close()
	// a is older, but in use: c must replace b.
	c := fetchOK(t, n.request(item("c")))
	if got := n.objects(t); len(got) != 2 || !slices.Contains(got, keyA) {
		t.Fatalf("the cache holds %v, want a (%s) and c", got, keyA)
	}
	end := fetchFails(t, n.request(item("d")), wire.CodeDiskFull)
	if !strings.Contains(end.Detail, "max_bytes") {
		t.Errorf("detail %q does not say what to do", end.Detail)
	}
	if len(n.partial(t)) != 0 {
		t.Errorf("left: %v", n.partial(t))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	// Now c is the least recently used: a was closed after it.
	fetchOK(t, n.request(item("d")))
	if got := n.objects(t); len(got) != 2 || !slices.Contains(got, keyA) {
		t.Errorf("the cache holds %v, want a (%s) and d", got, keyA)
	}
}

// smallDisk is a disk of its own, as options of tmpfs say, until the test ends.
func smallDisk(t *testing.T, options string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small disk")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestDiskFull(t *testing.T) {
	g := startGateway(t)
	g.put(t, "small", noise(3<<20, 10))
	g.put(t, "big", noise(9<<20, 11))
	n := newNode(t, g.url)
	n.cache.Dir = filepath.Join(smallDisk(t, "size=8m"), "cache")

	fetchFails(t, n.request(wire.Content{Source: "s3://models/big", Destination: "big"}), wire.CodeDiskFull)
	if len(n.objects(t)) != 0 || len(n.partial(t)) != 0 {
		t.Errorf("left: %v %v", n.objects(t), n.partial(t))
	}
	// Across filesystems the task gets a copy. An object that is not in use is evicted.
	fetchOK(t, n.request(wire.Content{Source: "s3://models/small", Destination: "small"})).Close()
	wantFile(t, filepath.Join(n.task, "small"), noise(3<<20, 10))
	g.put(t, "next", noise(7<<20, 12))
	fetchOK(t, n.request(wire.Content{Source: "s3://models/next", Destination: "next"}))
	wantFile(t, filepath.Join(n.task, "next"), noise(7<<20, 12))
}

// Small objects reserve nothing: the disk is found full when one is made or written. What
// is not in use is evicted then too.
func TestDiskFullOfSmallObjects(t *testing.T) {
	g := startGateway(t)
	const count = 12
	for _, set := range []string{"old", "new"} {
		for i := range count {
			g.put(t, fmt.Sprintf("%s/%02d", set, i), noise(500<<10, byte(i)+set[0]))
		}
	}
	for limit, options := range map[string]string{"bytes": "size=8m", "files": "size=64m,nr_inodes=30"} {
		t.Run(limit, func(t *testing.T) {
			n := newNode(t, g.url)
			n.cache.Dir = filepath.Join(smallDisk(t, options), "cache")
			fetchOK(t, n.request(wire.Content{Source: "s3://models/old/", Destination: "old"})).Close()
			fetchOK(t, n.request(wire.Content{Source: "s3://models/new/", Destination: "new"}))
			for i := range count {
				wantFile(t, filepath.Join(n.task, fmt.Sprintf("new/%02d", i)), noise(500<<10, byte(i)+'n'))
			}
		})
	}
}

// The folders of ended seats have links until Nomad removes them: to evict what they hold frees nothing. A full disk costs
// the cache only what frees something, and the limit of the cache costs it that first.
func TestEvictionOfWhatEndedSeatsHold(t *testing.T) {
	g := startGateway(t)
	for i, key := range []string{"held", "free", "third", "large"} {
		g.put(t, key, noise([]int{3, 3, 2, 7}[i]<<20, byte(i)))
	}
	n := newNode(t, g.url)
	disk := smallDisk(t, "size=8m")
	n.cache.Dir, n.task = filepath.Join(disk, "cache"), filepath.Join(disk, "task")
	testkit.Must(t, os.Mkdir(n.task, 0o755))
	fetch := func(key string, stays bool) {
		t.Helper()
		fetchOK(t, n.request(wire.Content{Source: "s3://models/" + key, Destination: key})).Close()
		if !stays {
			testkit.Must(t, os.Remove(filepath.Join(n.task, key)))
		}
	}
	fetch("held", true)
	held := n.objects(t)[0]
	fetch("free", false)
	fetch("third", false) // needs room: the oldest is held
	if got := n.objects(t); len(got) != 2 || !slices.Contains(got, held) {
		t.Errorf("the cache has %v, without %s that frees nothing, or more", got, held)
	}
	fetchFails(t, n.request(wire.Content{Source: "s3://models/large", Destination: "large"}), wire.CodeDiskFull)
	if got := n.objects(t); !slices.Contains(got, held) {
		t.Errorf("the cache is empty, and that freed nothing: %v", got)
	}
	fetch("third", false)
	for _, limit := range []int64{5 << 20, 3 << 20} {
		c, want := &cache{dir: n.cache.Dir, max: limit - 1}, []string{held}
		if limit == 3<<20 {
			want = nil
		}
		_, err := c.makeRoom(t.Context(), 0)
		testkit.Must(t, err)
		if got := n.objects(t); !slices.Equal(got, want) {
			t.Errorf("with a limit below %d the cache has %v, want %v", limit, got, want)
		}
	}
}

// A disk may be full of content that nobody uses before a seat asks for any. Then the list of what the seat uses finds no
// room, and what is not in use is evicted for it. A part map that finds none costs the download nothing.
func TestDiskFullBeforeAnyContent(t *testing.T) {
	g := startGateway(t)
	g.put(t, "old/a", noise(3<<20, 1))
	g.put(t, "new/a", noise(1<<20, 2))
	n := newNode(t, g.url)
	disk := smallDisk(t, "size=6m")
	n.cache.Dir = filepath.Join(disk, "cache")
	fetchOK(t, n.request(wire.Content{Source: "s3://models/old/", Destination: "old"})).Close()
	c := &cache{dir: n.cache.Dir}
	first := partMap{Key: "k", Size: 10, PartSize: 5, Done: []byte{1}}
	testkit.Must(t, c.writeParts("k", first))
	fill, err := os.Create(filepath.Join(disk, "fill"))
	testkit.Must(t, err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	fill.Close()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	before, _ := c.readParts("k")
	if err := c.writeParts("k", partMap{Key: "k", Size: 10, PartSize: 5, Done: []byte{3}}); err != nil {
		t.Errorf("the download ends as its part map finds no room: %v", err)
	}
	if after, ok := c.readParts("k"); !ok || after.Done[0] != before.Done[0] || slices.Contains(n.partial(t), "k.new"+partsSuffix) {
		t.Errorf("the map is %+v, was %+v, and there are %v", after, before, n.partial(t))
	}
	fetchOK(t, n.request(wire.Content{Source: "s3://models/new/", Destination: "new"}))
	wantFile(t, filepath.Join(n.task, "new/a"), noise(1<<20, 2))
}

// A disk fails after the seat has its files: here a loop device whose own disk is full. The seat
// must end, since it may read wrong bytes, and nothing of it is in the cache.
func TestDiskFailsUnderASeat(t *testing.T) {
	under, disk := smallDisk(t, "size=16m"), t.TempDir()
	image := filepath.Join(under, "disk")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 200<<20)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-O", "^has_journal", image}, {"mount", "-o", "loop", image, disk}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no loop devices with ext4 here: %v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, 0) })
	g := startGateway(t)
	for i := range 4 {
		g.put(t, fmt.Sprintf("set/%d", i), noise(8<<20, byte(i)))
	}
	n := newNode(t, g.url)
	n.cache.Dir, n.task = filepath.Join(disk, "cache"), filepath.Join(disk, "task")
	if err := os.Mkdir(n.task, 0o755); err != nil {
		t.Fatal(err)
	}
	hold, err := Fetch(t.Context(), n.request(wire.Content{Source: "s3://models/set/", Destination: "set"}))
	if err != nil {
		t.Fatal(err)
	}
	end, spoilt := Spoilt(hold.Keep())
	if !spoilt || end.Code != wire.CodeDiskFailed || end.Reason != wire.ReasonError {
		t.Errorf("the seat goes on: %v", end)
	}
	if got := n.objects(t); len(got) != 0 {
		t.Errorf("in the cache: %v", got)
	}
	if _, spoilt := Spoilt(hold.Close()); !spoilt {
		t.Error("the fault was forgotten")
	}
}

// A disk below the file system that is full says so in a sync: to evict would not help.
func TestUnsyncedIsNoFullDisk(t *testing.T) {
	for _, fault := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO} {
		if end := unsynced("write", fault); end.Code != wire.CodeDiskFailed {
			t.Errorf("%v: %v", fault, end)
		}
	}
	if end, failed := Spoilt(spoilt{unsynced("write", unix.ENOSPC)}); !failed || end.Code != wire.CodeDiskFailed {
		t.Errorf("the seat goes on: %v", end)
	}
}

// Two seats fit each, but not together: the first goes on, and the second is refused.
func TestTwoSeatsThatDoNotFitTogether(t *testing.T) {
	g := startGateway(t)
	a, b := noise(3<<20, 1), noise(3<<20, 2)
	g.put(t, "a", a)
	g.put(t, "b", b)
	n := newNode(t, g.url)
	n.cache.MaxBytes = 4 << 20
	c, err := openCache(n.cache)
	if err != nil {
		t.Fatal(err)
	}
	want := func(key string, size int64) []job { return []job{{file: file{cacheKey: key, size: size}}} }
	first, err := c.pin(t.Context(), want("sha256-a", 3<<20), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.pin(t.Context(), want("sha256-b", 3<<20), nil, nil)
	var end wire.End
	if !errors.As(err, &end) || end.Code != wire.CodeDiskFull {
		t.Errorf("the second was recorded: %v", err)
	}
	if _, err := c.makeRoom(t.Context(), 0); err != nil {
		t.Errorf("the first does not go on: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	for range 5 {
		var wait sync.WaitGroup
		var mu sync.Mutex
		var holds []*Hold
		for _, key := range []string{"a", "b"} {
			req := n.request(wire.Content{Source: "s3://models/" + key, Destination: key})
			req.TaskDir = t.TempDir()
			wait.Go(func() {
				hold, err := fetchAndKeep(context.Background(), req)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					holds = append(holds, hold)
				} else if !errors.As(err, &end) || end.Code != wire.CodeDiskFull {
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		wait.Wait()
		if len(holds) != 1 {
			t.Fatalf("%d of two seats have their files", len(holds))
		}
		holds[0].Close()
	}
}

// An object grows in the store while it is fetched. Room is made for what it is now.
func TestReplacedByALargerObject(t *testing.T) {
	g := startGateway(t)
	data := noise(3<<20, 2)
	for name, c := range map[string]struct {
		max  int64
		code string
	}{"fits": {4 << 20, ""}, "does not fit": {5 << 19, wire.CodeDiskFull}} {
		t.Run(name, func(t *testing.T) {
			g.put(t, "m", noise(1<<20, 1))
			g.put(t, "unused", noise(3<<19, 3))
			p := startProxy(t, g.url)
			n := newNode(t, p.url)
			n.cache.MaxBytes = c.max
			fetchOK(t, n.request(wire.Content{Source: "s3://models/unused", Destination: "unused"})).Close()
			var once sync.Once
			gate := func(*http.Request) { once.Do(func() { g.put(t, "m", data) }) }
			p.gate.Store(&gate)
			req := n.request(wire.Content{Source: "s3://models/m", Destination: "m", SHA256: sum(data)})
			if c.code != "" {
				fetchFails(t, req, c.code)
				return
			}
			fetchOK(t, req)
			wantFile(t, filepath.Join(n.task, "m"), data)
			if got := n.objects(t); len(got) != 1 {
				t.Errorf("the cache holds more than its limit: %v", got)
			}
		})
	}
}
