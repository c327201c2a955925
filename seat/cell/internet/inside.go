package internet

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// special are the blocks of IPv4 that are not of the public internet, as IANA's registry of
// special-purpose addresses (RFC 6890) lists them, and multicast. The three blocks for
// documentation are not among them: nobody routes them, and tests use them as the outside.
var special = prefixes(
	"0.0.0.0/8",      // this network
	"10.0.0.0/8",     // private
	"100.64.0.0/10",  // shared by carriers, and Alibaba's metadata address
	"127.0.0.0/8",    // loopback
	"169.254.0.0/16", // link-local, and the metadata address of other clouds
	"172.16.0.0/12",  // private
	"192.0.0.0/24",   // IETF protocols, and Oracle's metadata address
	"192.168.0.0/16", // private
	"198.18.0.0/15",  // benchmarks, and the cell's own network
	"224.0.0.0/4",    // multicast
	"240.0.0.0/4",    // reserved, and broadcast
)

func prefixes(all ...string) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// inside returns what the cell must not reach: each prefix once, the wider ones first.
func inside(deny []netip.Prefix) ([]netip.Prefix, error) {
	all := slices.Clone(special)
	// Azure's agents and DNS of every node. It looks public.
	all = append(all, netip.MustParsePrefix("168.63.129.16/32"))
	for _, p := range deny {
		if !p.IsValid() {
			return nil, fmt.Errorf("start network: %q among the denied prefixes is not valid", p)
		}
		if p.Addr().Is4() {
			all = append(all, p.Masked())
		}
	}
	// A connection of slirp4netns to an address of the node comes from inside, past the
	// firewall around the node.
	own, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("start network: list the node's addresses: %w", err)
	}
	for _, a := range own {
		for _, ip := range [][]byte{a.IP.To4(), a.Broadcast.To4()} {
			if addr, ok := netip.AddrFromSlice(ip); ok {
				all = append(all, netip.PrefixFrom(addr, 32))
			}
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	var out []netip.Prefix
	for _, p := range all {
		if !slices.ContainsFunc(out, func(wider netip.Prefix) bool { return wider.Overlaps(p) }) {
			out = append(out, p)
		}
	}
	return out, nil
}
