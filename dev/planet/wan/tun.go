package wan

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/dev/planet/netns"
)

const (
	mtu = 1500 // what the Internet carries
	// queue is how many packets a device keeps until they are read here. The thread
	// that reads may have to wait for a CPU, and must not lose packets by that. At full
	// size these are 6 MB.
	queue = 4096
)

// Supported returns why a WAN does not work here, or nil.
func Supported() error {
	if err := netns.Supported(); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w; load the kernel's tun module, and start a container with --device /dev/net/tun", err)
	}
	unix.Close(fd)
	return nil
}

// openTUN makes the device of a namespace. It exists until the descriptor is closed.
func openTUN(ns *netns.NS, address netip.Prefix) (fd int, err error) {
	// The device belongs to the namespace in which the file was opened.
	err = ns.Do(func() error {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
		}
		r, err := unix.NewIfreq(Device)
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			unix.Close(fd)
			return fmt.Errorf("make %s: %w", Device, err)
		}
		err = netns.Configure(netns.Interface{Name: Device, Address: address, MTU: mtu, Queue: queue, DefaultRoute: true})
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	return fd, err
}
