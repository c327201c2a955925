package configure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// onRoot is how large the content cache may be where it lies on the root volume, although a
// local disk was expected: a root volume that is full takes the agents with it.
const onRoot = 10 // GiB

// limitCache lowers the size of a cache that should be on a local disk to what the disk has, less a
// tenth for the file system and for downloads, or to onRoot where there is no such disk.
func limitCache(size, folder string) (string, error) {
	var disk, parent unix.Stat_t
	if err := unix.Stat(folder, &disk); os.IsNotExist(err) {
		return size, nil // install.sh makes it first
	} else if err != nil {
		return "", fmt.Errorf("look at %s: %w", folder, err)
	}
	if err := unix.Stat(filepath.Dir(folder), &parent); err != nil {
		return "", fmt.Errorf("look at %s: %w", filepath.Dir(folder), err)
	}
	most := onRoot
	if disk.Dev != parent.Dev {
		var fs unix.Statfs_t
		if err := unix.Statfs(folder, &fs); err != nil {
			return "", fmt.Errorf("look at %s: %w", folder, err)
		}
		most = max(1, int(uint64(fs.Bsize)*fs.Blocks>>30)*9/10)
	}
	if now, err := strconv.Atoi(strings.TrimSuffix(size, "GiB")); err == nil && now > 0 && now <= most {
		return size, nil
	}
	return fmt.Sprintf("%dGiB", most), nil
}
