package registrar

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/nearcast/nearcast/internal/wire"
)

// maxMedia is how many addresses a seat tells: they stand in Consul, in 512 bytes.
const maxMedia = 8

// mediaOf is where a seat takes media: at the addresses that its candidates name, and at the
// ports of its node for media.
func mediaOf(l wire.Listen) (media []string) {
	low, high := l.PortMin, l.PortMax
	if low == 0 && high == 0 {
		low, high = systemPorts()
	}
	add := func(a netip.Addr) {
		if len(media) < maxMedia {
			media = append(media, net.JoinHostPort(a.String(), fmt.Sprintf("%d-%d", low, high)))
		}
	}
	if a, err := netip.ParseAddr(l.PublicIP); err == nil {
		add(a)
		return media
	}
	if a, err := netip.ParseAddr(l.Media); err == nil {
		add(a)
		if l.Loopback && !a.IsLoopback() {
			add(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		}
		return media
	}
	own, _ := net.InterfaceAddrs()
	for _, n := range own {
		network, ok := n.(*net.IPNet)
		if !ok {
			continue
		}
		// Without an address of its own a seat has candidates of IPv4 only.
		a, ok := netip.AddrFromSlice(network.IP)
		if a = a.Unmap(); ok && a.Is4() && !a.IsLinkLocalUnicast() && (l.Loopback || !a.IsLoopback()) {
			add(a)
		}
	}
	return media
}

// systemPorts are those from which the system chooses.
func systemPorts() (low, high uint16) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		if _, err = fmt.Sscan(string(text), &low, &high); err == nil && low >= 1024 && low <= high {
			return low, high
		}
	}
	return 1024, 65535
}
