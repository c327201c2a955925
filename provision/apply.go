package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/google/renameio/v2"
)

// Apply writes the files below root, and removes those of stale that are not among
// them. It returns the paths that it changed. It replaces each file as a whole: an agent
// reads the old one or the new one, and others can never read a secret.
func Apply(root string, files []File, stale []string) (changed []string, err error) {
	for _, f := range files {
		did, err := f.put(root)
		if err != nil {
			return changed, fmt.Errorf("write %s: %w", f.Path, err)
		}
		if did {
			changed = append(changed, f.Path)
		}
	}
	for _, path := range stale {
		if slices.ContainsFunc(files, func(f File) bool { return f.Path == path }) {
			continue
		}
		switch err := os.Remove(filepath.Join(root, path)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return changed, fmt.Errorf("remove a file that this role does not have: %w", err)
		default:
			changed = append(changed, path)
		}
	}
	return changed, nil
}

func (f File) put(root string) (changed bool, err error) {
	path := filepath.Join(root, f.Path)
	uid, gid, err := f.owner()
	if err != nil {
		return false, err
	}
	if same, err := f.isThere(path, gid); same || err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	// In the same folder: a secret is never in /tmp, not even for a moment.
	temp, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return false, err
	}
	defer temp.Cleanup()
	_, err = temp.Write(f.Text)
	if uid >= 0 {
		err = errors.Join(err, temp.Chown(uid, gid))
	}
	// The mode last: before, only root can read the file.
	if err = errors.Join(err, temp.Chmod(f.Mode)); err != nil {
		return false, err
	}
	return true, temp.CloseAtomicallyReplace()
}

// owner is root, and a group that lets an agent read its configuration, but not write
// it. It is -1 if the owner does not change.
func (f File) owner() (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return -1, -1, nil // a Unix user's own cluster: all files are theirs
	}
	if f.Group == "" {
		return 0, 0, nil
	}
	group, err := user.LookupGroup(f.Group)
	if err != nil {
		return 0, 0, fmt.Errorf("%w (install.sh creates it)", err)
	}
	gid, err = strconv.Atoi(group.Gid)
	return 0, gid, err
}

// isThere reports whether the file has this text, mode and group.
func (f File) isThere(path string, gid int) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return bytes.Equal(text, f.Text) && info.Mode().Perm() == f.Mode &&
		(gid < 0 || ok && int(stat.Gid) == gid), nil
}
