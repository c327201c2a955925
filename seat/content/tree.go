package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// treesDir has the trees that are ready for the next seat, each under its key. Names that
	// begin with otherTree are of those that a seat takes or makes just now, or that are removed.
	treesDir  = "trees"
	otherTree = "."
	// treeFrom is how many files a source has at least, so that a tree is made of them: fewer
	// are linked in the time that a tree takes to be moved.
	treeFrom = 500
	// maxTrees bounds the trees of a node. Their files take no room, but their folders do.
	maxTrees = 32
)

// tree is what is below the destination of one source: folders, and links to the cache. To make
// a hundred thousand links takes seconds. So a seat makes a second tree after it has started,
// and the next seat of the same version gets all of it by one rename.
type tree struct {
	key    string // of all paths, and of what is at each
	source int    // its number
	dest   string
	files  []file
	// taken is the tree while it is this seat's and not in place yet. Its lock tells others so.
	taken *os.File
	at    string // where it is, while it is taken
}

// treesOf are the trees of the sources that have many files.
func treesOf(sources []source, each [][]file) (trees []*tree) {
	for i, files := range each {
		if !sources[i].prefix() || len(files) < treeFrom {
			continue
		}
		t := &tree{source: i, dest: sources[i].dest, files: files}
		h := sha256.New()
		for _, f := range files {
			if f.dest != "" { // a manifest goes nowhere
				fmt.Fprintf(h, "%s\x00%s\x00%t\n", t.below(f), f.cacheKey, f.dir)
			}
		}
		t.key = hex.EncodeToString(h.Sum(nil))
		trees = append(trees, t)
	}
	return trees
}

// sameDisk reports whether a file can have names in both directories. Where it cannot, a tree would be
// made for nobody.
func sameDisk(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev
}

// below is the path of a file in its tree.
func (t *tree) below(f file) string {
	if t.dest == "." {
		return f.dest
	}
	return strings.TrimPrefix(f.dest, t.dest+"/")
}

// take takes a tree for this seat, if one is ready. All its files are in the cache then. The
// caller holds the cache's lock, and records the use of them.
func (c *cache) take(t *tree) {
	ready := c.path(treesDir, t.key)
	dir, err := lockedTree(ready)
	if err != nil {
		return // none is ready
	}
	mine := c.path(treesDir, fmt.Sprintf("%s%d-%d", otherTree, os.Getpid(), time.Now().UnixNano()))
	if err := os.Rename(ready, mine); err != nil {
		dir.Close()
		return
	}
	t.taken, t.at = dir, mine
}

// lockedTree opens a tree that nobody takes or makes just now.
func lockedTree(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// giveBack makes trees ready again that were taken and are not in place.
func (c *cache) giveBack(trees []*tree) {
	for _, t := range trees {
		if t.taken == nil {
			continue
		}
		_ = unix.Renameat2(unix.AT_FDCWD, t.at, unix.AT_FDCWD, c.path(treesDir, t.key), unix.RENAME_NOREPLACE)
		t.taken.Close()
		t.taken = nil
	}
}

func anyTaken(trees []*tree) bool {
	return slices.ContainsFunc(trees, func(t *tree) bool { return t.taken != nil })
}

// besides are the files of those sources of which no tree was taken.
func besides(each [][]file, trees []*tree) (out []file) {
	for i, files := range each {
		if !slices.ContainsFunc(trees, func(t *tree) bool { return t.source == i && t.taken != nil }) {
			out = append(out, files...)
		}
	}
	return out
}

// adopt moves what is in a folder of the cache to dest. It returns the names in it that were not
// moved: the seat has something there already, or a rename does not get there.
func (t *taskDir) adopt(from, dest string) (left []string, err error) {
	if dest != "." {
		parent, name := filepath.Split(dest)
		parent = filepath.Clean(parent)
		if err := t.mkdir(parent); err != nil {
			return nil, err
		}
		to, err := t.root.Open(parent)
		if err != nil {
			return nil, destinationError(parent, err)
		}
		defer to.Close()
		if unix.Renameat2(unix.AT_FDCWD, from, int(to.Fd()), name, unix.RENAME_NOREPLACE) == nil {
			return nil, nil
		}
	}
	if err := t.mkdir(dest); err != nil {
		return nil, err
	}
	to, err := t.root.Open(dest)
	if err != nil {
		return nil, destinationError(dest, err)
	}
	defer to.Close()
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, storage("read the cache", err)
	}
	for i, e := range entries {
		err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(from, e.Name()), int(to.Fd()), e.Name(), unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EXDEV) { // likewise all others
			for _, e := range entries[i:] {
				left = append(left, e.Name())
			}
			return left, nil
		}
		if err != nil {
			left = append(left, e.Name())
		}
	}
	return left, nil
}

// adopt puts the trees that were taken where they go. It returns the files that are left to be
// put there one by one: those of other sources, and what a tree could not be moved to.
func (f *fetcher) adopt(each [][]file, trees []*tree) (rest []file, err error) {
	rest = besides(each, trees)
	for _, t := range trees {
		if t.taken == nil {
			continue
		}
		left, err := f.task.adopt(t.at, t.dest)
		if err != nil {
			return nil, err
		}
		rest = append(rest, t.under(left)...)
		t.taken.Close()
		t.taken = nil
		// It is in place, empty, or of no use any more.
		if err := os.RemoveAll(t.at); err != nil {
			return nil, storage("remove what is left of a tree", err)
		}
	}
	return rest, nil
}

// under are the files below some of the names in the tree's folder.
func (t *tree) under(names []string) (out []file) {
	if len(names) == 0 {
		return nil
	}
	among := make(map[string]bool, len(names))
	for _, name := range names {
		among[name] = true
	}
	for _, f := range t.files {
		top, _, _ := strings.Cut(t.below(f), "/")
		if f.dest != "" && among[top] {
			out = append(out, f)
		}
	}
	return out
}

// keepTrees makes those trees that are not ready. The use of their files is recorded: so
// eviction takes none of them meanwhile.
func (c *cache) keepTrees(ctx context.Context, trees []*tree) error {
	for _, t := range trees {
		if _, err := os.Lstat(c.path(treesDir, t.key)); err == nil {
			continue
		}
		if err := c.keepTree(ctx, t); err != nil {
			return fmt.Errorf("prepare the files of the next seat: %w", err)
		}
	}
	return nil
}

func (c *cache) keepTree(ctx context.Context, t *tree) (err error) {
	dir, err := c.newTree(ctx)
	if err != nil {
		return err
	}
	defer dir.Close()
	path := dir.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}()
	in, err := openTaskDir(path, false)
	if err != nil {
		return err
	}
	defer in.Close()
	in.linksOnly = true // what a tree has takes no room that nobody counts
	byDir := map[string][]placement{}
	for _, f := range t.files {
		switch {
		case f.dest == "":
		case f.dir:
			if err := in.mkdir(t.below(f)); err != nil {
				return err
			}
		default:
			folder, name := filepath.Split(t.below(f))
			folder = filepath.Clean(folder)
			byDir[folder] = append(byDir[folder], placement{path: c.path("objects", f.cacheKey), name: name})
		}
	}
	for folder, all := range byDir {
		if err := in.put(folder, all); err != nil {
			return err
		}
	}
	// What has its name is complete, also after a power cut.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, c.path(treesDir, t.key), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) { // another seat was faster
		return os.RemoveAll(path)
	}
	return err
}

// newTree makes the folder of a tree. Its lock says that a process makes it.
func (c *cache) newTree(ctx context.Context) (dir *os.File, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.dropTrees(maxTrees - 1); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(c.path(treesDir), otherTree)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o755); err != nil { // as the folders of the task directory
		return nil, err
	}
	return lockedTree(path)
}

// dropTrees removes trees until so many are left, those first that were made first, and what
// processes left that were killed. It leaves alone what a seat takes or makes just now. The
// caller holds the cache's lock.
func (c *cache) dropTrees(leave int) error {
	entries, err := os.ReadDir(c.path(treesDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	made := map[string]time.Time{}
	var ready []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), otherTree) {
			if err := c.dropTree(e.Name()); err != nil {
				return err
			}
		} else if info, err := e.Info(); err == nil {
			ready, made[e.Name()] = append(ready, e.Name()), info.ModTime()
		}
	}
	slices.SortFunc(ready, func(a, b string) int { return made[a].Compare(made[b]) })
	for len(ready) > leave {
		if err := c.dropTree(ready[0]); err != nil {
			return err
		}
		ready = ready[1:]
	}
	return nil
}

// dropTree removes a tree, unless a process has it.
func (c *cache) dropTree(name string) error {
	path := c.path(treesDir, name)
	dir, err := lockedTree(path)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return os.RemoveAll(path) // another program made it
	case err != nil:
		return err
	}
	defer dir.Close()
	if !strings.HasPrefix(name, otherTree) {
		// One that is half removed is no tree.
		gone := c.path(treesDir, otherTree+name)
		if err := os.Rename(path, gone); err != nil {
			return err
		}
		path = gone
	}
	return os.RemoveAll(path)
}
