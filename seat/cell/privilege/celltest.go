//go:build celltest

package privilege

import (
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/seat/cell"
)

// keepAll changes the user and leaves every capability, where a test wants to see what they
// would give.
func keepAll(id cell.Identity) (kept bool, err error) {
	if !cell.Without("capabilities") {
		return false, nil
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return false, err
	}
	if err := changeUser(id); err != nil {
		return false, err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, err
	}
	for i := range data {
		data[i].Effective, data[i].Inheritable = data[i].Permitted, data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return false, err
	}
	for c := range 64 {
		unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0)
	}
	return true, nil
}
