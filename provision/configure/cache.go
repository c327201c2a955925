package configure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/provision"
)

// onRoot is how large the content cache may be where it lies on the root volume, although a
// local disk was expected: a root volume that is full takes the agents with it.
const onRoot = 10 // GiB

// limitCache lowers the size of a cache that should be on a local disk to what provision.CacheOn
// says of the disk, or to onRoot where there is no such disk.
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
		most = provision.CacheOn(int(uint64(fs.Bsize) * fs.Blocks >> 30))
	}
	if now, err := strconv.Atoi(strings.TrimSuffix(size, "GiB")); err == nil && now > 0 && now <= most {
		return size, nil
	}
	return fmt.Sprintf("%dGiB", most), nil
}

// allocDir is where Nomad's client has its allocations. A node that was provisioned by an earlier release
// has those that run in Nomad's own folder: Nomad would not find their files in another one. They stay there until
// none is left, as after a boot. mounts is a file such as /proc/self/mountinfo: the folder of secrets of each
// allocation is a mount.
func allocDir(p provision.Paths, mounts string) (string, error) {
	text, err := os.ReadFile(mounts)
	if err != nil {
		return "", fmt.Errorf("read the mounts: %w", err)
	}
	before := filepath.Join(p.NomadData, "alloc")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], before+"/") {
			return before, nil
		}
	}
	return p.Alloc, nil
}
