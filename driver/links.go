package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// unlinkTimeout bounds how long the end of a seat waits for unlinkContent. What is left then goes with its allocation.
const unlinkTimeout = 10 * time.Second

// unlinkContent removes an ended seat's links to the content cache. Nomad keeps the task directory until it collects the
// allocation: until then, what the cache evicts would free nothing. Files of the app and private copies stay:
// they have one name, or another owner.
func unlinkContent(ctx context.Context, spec *wire.Spec) error {
	if len(spec.Content) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, unlinkTimeout)
	defer cancel()
	root, err := os.OpenRoot(spec.TaskDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the task directory: %w", err)
	}
	defer root.Close()
	var failed error
	remove := func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // a folder that cannot be read holds up no other one
			if !errors.Is(err, fs.ErrNotExist) {
				failed = err
			}
			return nil
		case !e.Type().IsRegular():
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil // gone
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 && int(stat.Uid) == os.Geteuid() {
			if err := root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = err
			}
		}
		return nil
	}
	for _, c := range spec.Content {
		if err := fs.WalkDir(root.FS(), filepath.Clean(c.Destination), remove); err != nil {
			return fmt.Errorf("remove the seat's links to the cache: %w", err)
		}
	}
	if failed != nil {
		return fmt.Errorf("remove the seat's links to the cache: %w", failed)
	}
	return nil
}
