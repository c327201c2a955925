package internet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// connect moves the helper's interface from the helper's namespace into the cell's, and
// brings it up there once all that must be refused is refused.
func connect(cfg Config, pid int, denied []netip.Prefix) error {
	if cfg.open {
		denied = nil
	}
	if err := filter(pid, denied, cfg.open); err != nil {
		return fmt.Errorf("filter the interface: %w", err)
	}
	if cfg.noRoutes {
		denied = nil
	}
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/fd/%d", pid, netnsFD))
	if err != nil {
		return fmt.Errorf("open the helper's namespace: %w", err)
	}
	defer theirs.Close()
	from, err := netlink.NewHandleAt(netns.NsHandle(theirs.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter the helper's namespace: %w", err)
	}
	defer from.Close()
	to, err := netlink.NewHandleAt(netns.NsHandle(cfg.Netns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("enter the cell's namespace: %w", err)
	}
	defer to.Close()

	link, err := from.LinkByName(Interface)
	if err == nil {
		err = from.LinkSetNsFd(link, int(cfg.Netns.Fd()))
	}
	if err != nil {
		return fmt.Errorf("move the interface: %w", err)
	}
	if link, err = to.LinkByName(Interface); err != nil {
		return fmt.Errorf("find the interface: %w", err)
	}
	if err := noIPv6(cfg.Netns); err != nil {
		return fmt.Errorf("turn IPv6 off: %w", err)
	}
	lo, err := to.LinkByName("lo")
	if err == nil {
		err = to.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	for _, p := range denied {
		if err := to.RouteReplace(&netlink.Route{Dst: ipNet(p), Type: unix.RTN_UNREACHABLE}); err != nil {
			return fmt.Errorf("refuse %s: %w", p, err)
		}
	}
	index := link.Attrs().Index
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"set the MTU", func() error { return to.LinkSetMTU(link, mtu) }},
		// Alone, without its network: nothing is on the link but what has a route.
		{"set the address", func() error { return to.AddrAdd(link, &netlink.Addr{IPNet: ipNet(single(address))}) }},
		{"bring the interface up", func() error { return to.LinkSetUp(link) }},
		{"route to the resolver", func() error {
			return to.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(single(resolver)), Scope: netlink.SCOPE_LINK})
		}},
		{"set the default route", func() error {
			return to.RouteReplace(&netlink.Route{LinkIndex: index, Gw: gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
		}},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// noIPv6 spares apps a link-local address that leads nowhere; the filter drops IPv6
// anyway.
func noIPv6(cell *os.File) error {
	return within(cell, func() error {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+Interface+"/disable_ipv6", []byte("1"), 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
			return nil
		}
		return err
	})
}

// within runs f on this goroutine, with its thread in a network namespace. The thread
// comes back: also one that its goroutine leaves locked may live on, if it is the
// process's first, and the namespace with it.
func within(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave the namespace: %w", back)) // the thread stays locked
	}
	runtime.UnlockOSThread()
	return err
}

// filter attaches a filter to the helper's interface. The kernel applies it to each frame
// of the cell before slirp4netns can read it.
func filter(pid int, denied []netip.Prefix, open bool) error {
	tap, err := takeTap(pid)
	if err != nil {
		return err
	}
	defer unix.Close(tap)
	program, err := bpf.Assemble(instructions(denied, open))
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(program))
	for i, in := range program {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(tap), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("attach: %w", errno)
	}
	return nil
}

// Offsets in an Ethernet frame, and what a filter returns.
const (
	etherType   = 12
	destination = 30 // of IPv4
	arp, ipv4   = 0x0806, 0x0800
)

var (
	pass = bpf.RetConstant{Val: 1 << 18} // more than any frame
	drop = bpf.RetConstant{Val: 0}
)

// instructions pass ARP, the resolver, and what is not denied of IPv4.
func instructions(denied []netip.Prefix, open bool) []bpf.Instruction {
	if open {
		return []bpf.Instruction{pass}
	}
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: arp, SkipTrue: 1},
		pass,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: ipv4, SkipTrue: 1},
		drop,
		bpf.LoadAbsolute{Off: destination, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number(resolver), SkipTrue: 1},
		pass,
	}
	for _, p := range denied {
		mask := ^uint32(0) << (32 - p.Bits())
		code = append(code,
			bpf.LoadAbsolute{Off: destination, Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: number(p.Addr()), SkipTrue: 1},
			drop,
		)
	}
	return append(code, pass)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// takeTap returns a copy of the helper's descriptor of its interface.
func takeTap(pid int) (int, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open the helper: %w", err)
	}
	defer unix.Close(process)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return -1, fmt.Errorf("list the helper's descriptors: %w", err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || target != "/dev/net/tun" {
			continue
		}
		number, err := strconv.Atoi(e.Name())
		if err != nil {
			return -1, err
		}
		tap, err := unix.PidfdGetfd(process, number, 0)
		if err != nil {
			return -1, fmt.Errorf("take the helper's descriptor: %w", err)
		}
		return tap, nil
	}
	return -1, errors.New("the helper has no interface")
}
