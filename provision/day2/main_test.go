package day2

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestMain gives the tests their own network namespace, if it can: the document uses fixed
// ports, which may not be free on the machine. X servers of different namespaces all use
// display :0, so they need separate folders for its socket.
func TestMain(m *testing.M) {
	const inside = "NEARCAST_DAY2_NETWORK"
	unshare, err := exec.LookPath("unshare")
	if err == nil && os.Geteuid() == 0 && os.Getenv(inside) == "" && exec.Command(unshare, "--net", "ip", "link", "set", "lo", "up").Run() == nil {
		args := append([]string{"unshare", "--net", "--mount", "sh", "-c",
			`mkdir -p /tmp/.X11-unix && mount -t tmpfs -o mode=1777 tmpfs /tmp/.X11-unix && ip link set lo up && exec "$0" "$@"`}, os.Args...)
		if err := syscall.Exec(unshare, args, append(os.Environ(), inside+"=yes")); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
