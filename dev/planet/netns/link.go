package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Link is how an interface is to be.
type Link struct {
	Name    string
	Address netip.Prefix // IPv4
	MTU     uint32
	Queue   uint32 // packets that wait for whoever reads; txqueuelen
	// Default sends everything through it that no other interface reaches.
	Default bool
}

// Configure gives an interface of the calling thread's namespace its address,
// brings it up and routes through it.
func Configure(l Link) error {
	mask := net.CIDRMask(l.Address.Bits(), 32)
	address := l.Address.Addr().As4()
	for _, step := range []struct {
		name    string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{"MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(l.MTU); return nil }},
		{"queue", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(l.Queue); return nil }},
		{"address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{"netmask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }},
	} {
		if err := ifreq(l.Name, step.request, step.set); err != nil {
			return fmt.Errorf("set %s of %s: %w", step.name, l.Name, err)
		}
	}
	if err := up(l.Name); err != nil {
		return err
	}
	if l.Default {
		return defaultRoute(l.Name)
	}
	return nil
}

func up(name string) error {
	err := ifreq(name, unix.SIOCGIFFLAGS, nil, func(r *unix.Ifreq) (uint, error) {
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		return unix.SIOCSIFFLAGS, nil
	})
	if err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}

// ifreq makes a request about an interface, and then those that follow from
// its answer.
func ifreq(name string, request uint, set func(*unix.Ifreq) error, then ...func(*unix.Ifreq) (uint, error)) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if set != nil {
		if err := set(r); err != nil {
			return err
		}
	}
	if err := unix.IoctlIfreq(s, request, r); err != nil {
		return err
	}
	for _, next := range then {
		if request, err = next(r); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(s, request, r); err != nil {
			return err
		}
	}
	return nil
}

// defaultRoute asks rtnetlink for a default route through an interface.
func defaultRoute(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("route through %s: %w", name, err)
	}
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("route through %s: %w", name, err)
	}
	defer unix.Close(s)
	const size = unix.SizeofNlMsghdr + unix.SizeofRtMsg + unix.SizeofRtAttr + 4
	e := binary.NativeEndian
	m := make([]byte, 0, size)
	m = e.AppendUint32(m, size)
	m = e.AppendUint16(m, unix.RTM_NEWROUTE)
	m = e.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	m = append(m, make([]byte, 8)...) // sequence, port: the only message there will be
	m = append(m, unix.AF_INET, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK, unix.RTN_UNICAST)
	m = append(m, 0, 0, 0, 0) // flags
	m = e.AppendUint16(m, unix.SizeofRtAttr+4)
	m = e.AppendUint16(m, unix.RTA_OIF)
	m = e.AppendUint32(m, uint32(link.Index))
	if err := unix.Sendto(s, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("route through %s: %w", name, err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return fmt.Errorf("route through %s: %w", name, err)
	}
	if n < unix.SizeofNlMsghdr+4 || e.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("route through %s: rtnetlink answers with %d strange bytes", name, n)
	}
	if code := int32(e.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return fmt.Errorf("route through %s: %w", name, unix.Errno(-code))
	}
	return nil
}

// noIPv6 keeps IPv6 out of the calling thread's namespace: nothing carries it
// there, and every program would find that out by waiting.
func noIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("switch IPv6 off: %w", err)
		}
	}
	return nil
}
