package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// Interface is the configuration of a network interface.
type Interface struct {
	Name    string
	Address netip.Prefix // IPv4
	MTU     int
	Queue   int // packets that the kernel keeps until they are read; txqueuelen
	// DefaultRoute sends through it what no other interface reaches.
	DefaultRoute bool
}

// Configure gives an interface of the calling thread's namespace its address, brings
// it up and routes through it.
func Configure(i Interface) error {
	link, err := netlink.LinkByName(i.Name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", i.Name, err)
	}
	address := &net.IPNet{IP: i.Address.Addr().AsSlice(), Mask: net.CIDRMask(i.Address.Bits(), 32)}
	steps := []struct {
		name string
		set  func() error
	}{
		{"set the MTU", func() error { return netlink.LinkSetMTU(link, i.MTU) }},
		{"set the queue length", func() error { return netlink.LinkSetTxQLen(link, i.Queue) }},
		{"set the address", func() error { return netlink.AddrAdd(link, &netlink.Addr{IPNet: address}) }},
		{"bring up", func() error { return netlink.LinkSetUp(link) }},
		{"set the default route", func() error {
			if !i.DefaultRoute {
				return nil
			}
			all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
			return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: all})
		}},
	}
	for _, step := range steps {
		if err := step.set(); err != nil {
			return fmt.Errorf("interface %s: %s: %w", i.Name, step.name, err)
		}
	}
	return nil
}

func bringUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// noIPv6 turns IPv6 off in the calling thread's namespace. Nothing carries it there,
// and each program would find out by waiting.
func noIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("turn IPv6 off: %w", err)
		}
	}
	return nil
}
