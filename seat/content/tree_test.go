package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/nearcast/nearcast/internal/wire"
)

// manyFiles puts so many objects below set/ that a tree is made of them.
func manyFiles(t *testing.T, g *gateway) (item wire.Content, data func(i int) []byte) {
	t.Helper()
	data = func(i int) []byte { return noise(1000+i, byte(i)) }
	for i := range treeFrom {
		g.put(t, setKey(i), data(i))
	}
	return wire.Content{Source: "s3://models/set/", Destination: "local/set"}, data
}

func setKey(i int) string { return fmt.Sprintf("set/%02d/%03d", i/100, i) }

func (n *node) trees(t *testing.T) []string { return names(t, filepath.Join(n.cache.Dir, treesDir)) }

// seat fetches for one more seat, whose task directory begins as prepare leaves it.
func (n *node) seat(t *testing.T, item wire.Content, prepare func(task string)) (task string, hold *Hold) {
	t.Helper()
	req := n.request(item)
	req.TaskDir = t.TempDir()
	if prepare != nil {
		prepare(req.TaskDir)
	}
	var done, total int64
	req.Progress = func(d, all int64, _ string) { done, total = d, all }
	hold = fetchOK(t, req)
	if done != total {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	return req.TaskDir, hold
}

func (n *node) prepared(t *testing.T, hold *Hold) {
	t.Helper()
	if err := hold.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trees := n.trees(t); len(trees) != 1 || trees[0][:1] == otherTree {
		t.Fatalf("trees: %v", trees)
	}
}

func wantSet(t *testing.T, task string, data func(i int) []byte) {
	t.Helper()
	for i := range treeFrom {
		wantFile(t, filepath.Join(task, "local", setKey(i)), data(i))
	}
	count := 0
	err := filepath.WalkDir(task, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			count++
		}
		return err
	})
	if err != nil || count != treeFrom {
		t.Errorf("%d files, want %d (%v)", count, treeFrom, err)
	}
}

func inode(t *testing.T, path string) (ino, links uint64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Ino, uint64(stat.Nlink)
}

// A second seat of a version gets what the first one made ready, by one rename; a third, for
// which nothing is ready, makes its links. No file is another's.
func TestTree(t *testing.T) {
	g := startGateway(t)
	item, data := manyFiles(t, g)
	n := newNode(t, g.url)
	first, hold := n.seat(t, item, nil)
	if trees := n.trees(t); len(trees) != 0 {
		t.Fatalf("trees before the seat has started: %v", trees)
	}
	n.prepared(t, hold)
	folder, _ := inode(t, filepath.Join(n.cache.Dir, treesDir, n.trees(t)[0]))
	ofFirst, _ := inode(t, filepath.Join(first, "local", setKey(0)))

	second, hold := n.seat(t, item, nil)
	wantSet(t, second, data)
	if got, _ := inode(t, filepath.Join(second, "local/set")); got != folder {
		t.Error("the second seat did not get the tree that was ready")
	}
	if got, _ := inode(t, filepath.Join(second, "local", setKey(0))); got != ofFirst {
		t.Error("a file of the tree is not the one that the cache has")
	}
	info, err := os.Stat(filepath.Join(second, "local/set/00"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a folder has mode %v (%v)", info.Mode(), err)
	}
	third, _ := n.seat(t, item, nil)
	wantSet(t, third, data)
	if trees := n.trees(t); len(trees) != 0 {
		t.Errorf("left: %v", trees)
	}

	// What a seat has there already stays, but for the names of its content.
	n.prepared(t, hold)
	own := noise(10, 9)
	fourth, hold := n.seat(t, item, func(task string) {
		err := errors.Join(os.MkdirAll(filepath.Join(task, "local/set/00"), 0o777), os.WriteFile(filepath.Join(task, "local", setKey(1)), own, 0o644))
		if err != nil {
			t.Fatal(err)
		}
	})
	wantSet(t, fourth, data)
	if trees := n.trees(t); len(trees) != 0 {
		t.Errorf("left: %v", trees)
	}

	// The task directory itself is never replaced.
	n.prepared(t, hold)
	item.Destination = "."
	fifth, hold := n.seat(t, item, nil)
	wantFile(t, filepath.Join(fifth, "00/000"), data(0))
	wantFile(t, filepath.Join(fifth, "04/499"), data(499))

	// Another version is another tree.
	n.prepared(t, hold)
	item.Destination = "local/set"
	changed := noise(77, 7)
	g.put(t, setKey(3), changed)
	sixth, _ := n.seat(t, item, nil)
	wantFile(t, filepath.Join(sixth, "local", setKey(3)), changed)
	if trees := n.trees(t); len(trees) != 1 {
		t.Errorf("trees: %v", trees)
	}

	private := n.request(item)
	private.Private, private.TaskDir = true, t.TempDir()
	if err := fetchOK(t, private).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trees := n.trees(t); len(trees) != 1 {
		t.Errorf("an app that owns the cache has trees: %v", trees)
	}
}

// A tree that a seat had taken or was making when it was killed is removed, and one that a seat
// has now stays.
func TestTreesOfKilledSeats(t *testing.T) {
	n := newNode(t, "")
	c, err := openCache(n.cache)
	if err != nil {
		t.Fatal(err)
	}
	live, err := c.newTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	killed, err := c.newTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed.Name(), "file"), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	killed.Close()
	other, err := c.newTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := []string{filepath.Base(live.Name()), filepath.Base(other.Name())}
	slices.Sort(want)
	if got := n.trees(t); !slices.Equal(got, want) {
		t.Errorf("trees: %v, want %v", got, want)
	}
	// A seat that fails before its tree is in place gives it back.
	ready := &tree{key: "ready"}
	if err := os.Mkdir(c.path(treesDir, ready.key), 0o755); err != nil {
		t.Fatal(err)
	}
	c.take(ready)
	second := &tree{key: "ready"}
	if c.take(second); ready.taken == nil || second.taken != nil {
		t.Error("a tree was taken by nobody, or by two")
	}
	c.giveBack([]*tree{ready, second})
	if got := n.trees(t); !slices.Contains(got, "ready") {
		t.Errorf("trees: %v", got)
	}
	// Of too many, those go that were made first.
	for i := range maxTrees {
		path := c.path(treesDir, fmt.Sprintf("t%03d", i))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	last, err := c.newTree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	if got := n.trees(t); len(got) != maxTrees-1+3 || slices.Contains(got, "ready") {
		t.Errorf("%d trees: %v", len(got), got)
	}
}

// Eviction frees what it counts: no tree keeps a link to a file that was evicted.
func TestEvictionRemovesTrees(t *testing.T) {
	g := startGateway(t)
	item, _ := manyFiles(t, g)
	g.put(t, "big", noise(2<<20, 1))
	n := newNode(t, g.url)
	n.cache.MaxBytes = 2<<20 + 1000
	task, hold := n.seat(t, item, nil)
	n.prepared(t, hold)
	one := filepath.Join(task, "local", setKey(0))
	if _, links := inode(t, one); links != 3 {
		t.Fatalf("%d links: the cache's, the tree's and the seat's were expected", links)
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	n.seat(t, wire.Content{Source: "s3://models/big", Destination: "big"}, nil)
	if _, links := inode(t, one); links != 1 {
		t.Errorf("%d links to a file that was evicted, besides the one of the seat that ended", links-1)
	}
	if trees := n.trees(t); len(trees) != 0 {
		t.Errorf("trees: %v", trees)
	}
}

// A fetch that fails before its tree is in place leaves it to the next seat.
func TestTreeOfAFetchThatFails(t *testing.T) {
	g := startGateway(t)
	item, data := manyFiles(t, g)
	n := newNode(t, g.url)
	_, hold := n.seat(t, item, nil)
	n.prepared(t, hold)
	tree := n.trees(t)
	req := n.request(item)
	req.TaskDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(req.TaskDir, "local"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Fetch(t.Context(), req); err == nil {
		t.Fatal("files were put below a file")
	}
	if got := n.trees(t); !slices.Equal(got, tree) {
		t.Errorf("trees: %v, want %v", got, tree)
	}
	next, _ := n.seat(t, item, nil)
	wantSet(t, next, data)
}

// Where a file of the cache cannot have a name in the task directory, no tree is made, and in a tree
// nothing is copied: it would take room that nobody counts.
func TestTreeOfAnotherDisk(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "nearcast-")
	if err != nil {
		t.Skip("no other file system: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(other) })
	if here := t.TempDir(); sameDisk(here, other) || !sameDisk(here, t.TempDir()) || sameDisk(here, other+"/none") {
		t.Skip("the temporary directory is in memory, too")
	}
	in, err := openTaskDir(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	file := filepath.Join(other, "file")
	if err := os.WriteFile(file, noise(10, 1), 0o444); err != nil {
		t.Fatal(err)
	}
	for _, linksOnly := range []bool{true, false} {
		in.linksOnly = linksOnly
		if err := in.put("set", []placement{{path: file, name: "file"}}); (err == nil) == linksOnly {
			t.Errorf("links only %v: %v", linksOnly, err)
		}
	}

	g := startGateway(t)
	item, _ := manyFiles(t, g)
	n := newNode(t, g.url)
	req := n.request(item)
	req.TaskDir = filepath.Join(other, "task")
	if err := os.Mkdir(req.TaskDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fetchOK(t, req).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trees := n.trees(t); len(trees) != 0 {
		t.Errorf("trees: %v", trees)
	}
}
