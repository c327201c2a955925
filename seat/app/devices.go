package app

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// addDeviceGroups adds the groups that may open the device files of these
// patterns, such as "render" for /dev/dri/renderD128. Files that all users may
// open, such as NVIDIA's, need no group. The group root is never added: it owns
// more than devices.
func (id identity) addDeviceGroups(patterns []string, log *slog.Logger) identity {
	id.Groups = append([]int(nil), id.Groups...)
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern) // the patterns come from this program, so they are valid
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
				continue
			}
			owner := info.Sys().(*syscall.Stat_t)
			switch mode := info.Mode().Perm(); {
			case mode&0o006 == 0o006:
			case mode&0o600 == 0o600 && int(owner.Uid) == id.UID:
			case mode&0o060 == 0o060 && owner.Gid != 0:
				id.Groups = withGroup(id.Groups, int(owner.Gid))
			default:
				log.Warn("the app cannot open a device of its display", "device", file, "mode", info.Mode(), "user", id.label())
			}
		}
	}
	return id
}
