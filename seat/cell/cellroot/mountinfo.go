package cellroot

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mountsBelow lists the mount points below dir, outer ones first. procfs reads the
// table too, but keeps its escapes.
func mountsBelow(dir string) (paths []string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if path := unescape(fields[4]); path != dir && below(path, dir) {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// unescape replaces the octal escapes of a mount table: \040 is a space.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
