package brain

import (
	"strconv"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// versionOf reads an app's version from a child's id, which Nomad makes of it.
func versionOf(child string) (uint64, bool) {
	_, rest, ok := strings.Cut(child, "/dispatch-v")
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

func seatVersion(s wire.Seat) uint64 {
	if n, ok := versionOf(s.Job); ok {
		return n
	}
	return s.Version
}
