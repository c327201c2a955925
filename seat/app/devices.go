package app

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// admit makes the user a member of the groups whose members alone may open a
// device file of these patterns, such as "render" of /dev/dri/renderD128. What
// everybody may open, as NVIDIA's, needs nothing; and the group root, which owns
// more than devices, is not given.
func (id identity) admit(patterns []string, log *slog.Logger) identity {
	id.Groups = append([]int(nil), id.Groups...)
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern) // the patterns are this program's
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
				log.Warn("the app cannot open a device that its display draws with", "device", file, "mode", info.Mode(), "user", id.label())
			}
		}
	}
	return id
}
