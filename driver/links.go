package driver

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// unlinkTimeout bounds how long the end of a seat waits for unlinkContent. What is left then goes with its allocation.
	unlinkTimeout = 10 * time.Second
	// The app may have made folders without end. No content is deeper than the longest key of an object, and what
	// is looked for at a time is bounded.
	deepestContent = 1024
	mostFolders    = 1 << 16
	entriesAtOnce  = 1024
)

// unlinkContent removes an ended seat's links to the content cache. Nomad keeps the task directory until it collects the
// allocation: until then, what the cache evicts would free nothing. Files of the app and private copies stay:
// they have one name, or another owner. It is an attempt: a folder that cannot be read holds up no other one.
func unlinkContent(ctx context.Context, spec *wire.Spec) {
	if len(spec.Content) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, unlinkTimeout)
	defer cancel()
	root, err := os.OpenRoot(spec.TaskDir)
	if err != nil {
		return
	}
	defer root.Close()
	for _, c := range spec.Content {
		at := filepath.Clean(c.Destination)
		unlink(root, at) // one object
		for folders := []string{at}; len(folders) > 0 && ctx.Err() == nil; {
			folder := folders[len(folders)-1]
			folders = unlinkIn(ctx, root, folder, folders[:len(folders)-1], len(at)+deepestContent)
		}
	}
}

// unlinkIn removes the links in a folder, and adds the folders in it to those that are still to be looked through.
func unlinkIn(ctx context.Context, root *os.Root, folder string, folders []string, deepest int) []string {
	dir, err := root.Open(folder)
	if err != nil {
		return folders
	}
	defer dir.Close()
	for ctx.Err() == nil {
		entries, err := dir.ReadDir(entriesAtOnce)
		for _, e := range entries {
			path := filepath.Join(folder, e.Name())
			switch {
			case e.IsDir() && len(path) <= deepest && len(folders) < mostFolders:
				folders = append(folders, path)
			case e.Type().IsRegular():
				unlink(root, path)
			}
		}
		if err != nil {
			break // io.EOF at the end
		}
	}
	return folders
}

// unlink removes a file if it is a link to one of the cache.
func unlink(root *os.Root, path string) {
	info, err := root.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 && int(stat.Uid) == os.Geteuid() {
		_ = root.Remove(path)
	}
}
