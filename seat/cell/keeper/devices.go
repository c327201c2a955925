package keeper

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nearcast/nearcast/seat/cell"
)

// gpuDevices are patterns of the files by which programs use a GPU.
var gpuDevices = []string{"/dev/nvidia*", "/dev/dri/renderD*"}

// devices are the device files of the seat's programs: what the task was given, which has those
// of a reserved GPU, and with Xorg and without a reservation those of all GPUs: nobody says on
// which of them the server draws.
func (k *keeper) devices(xorg bool) (files []string) {
	patterns := slices.Clone(k.spec.Devices)
	if xorg && k.spec.GPU == "" {
		patterns = append(patterns, gpuDevices...)
	}
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // a pattern that is wrong matches nothing
		for _, file := range found {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

// hostDevices are the device files by which the stream host encodes: those of the reserved GPU
// that the task was given, and without a reservation those of all GPUs.
func (k *keeper) hostDevices() []string {
	if k.spec.GPU == "" {
		nvidia, _ := filepath.Glob("/dev/nvidia*") // fails only for a wrong pattern
		return append(nvidia, "/dev/dri")
	}
	return slices.DeleteFunc(slices.Clone(k.spec.Devices), func(file string) bool {
		return !strings.HasPrefix(file, "/dev/nvidia") && !strings.HasPrefix(file, "/dev/dri/renderD")
	})
}

// deviceGroups are the groups that may open the device files of these patterns, such as
// "render" for /dev/dri/renderD128. Files that all users may open, such as NVIDIA's,
// need no group. The group root is never one: it owns more than devices.
func deviceGroups(id cell.Identity, patterns []string, log *slog.Logger) (groups []int) {
	for _, pattern := range patterns {
		files, _ := filepath.Glob(pattern) // a pattern that is wrong matches nothing
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
				groups = append(groups, int(owner.Gid))
			default:
				log.Warn("the seat cannot open a device", "device", file, "mode", info.Mode(), "user", id.Label())
			}
		}
	}
	return groups
}
