package peer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/pion/ice/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// A browser says where the seat is to send its connectivity checks. So it could have
// the seat knock at any address, among them those of the site that it cannot reach
// itself. A reach says where the seat may send.
type reach struct {
	loopback, private bool
	deny              []netip.Prefix
}

// maxCandidates is how many addresses of a browser the seat checks for one offer.
// Others become known, as all do, when the browser's own checks come from them.
const maxCandidates = 16

// maxChecks is how many checks an address gets that does not answer: one each 200
// ms. An address that the browser checks from gets more.
const maxChecks = 3

var (
	// Nobody's browser is there, whatever the site allows.
	never = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "fe80::/10", "ff00::/8",
		"fd00:ec2::254/128",                      // the metadata address of AWS
		"fd20:ce::254/128",                       // of Google's cloud
		"100.100.100.200/32", "168.63.129.16/32") // of Alibaba's and of Azure's
	loopback = prefixes("127.0.0.0/8", "::1/128")
	// The site's own addresses are among these, and those of other private networks.
	// The last two hide an IPv4 address.
	private = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15",
		"fc00::/7", "fec0::/10", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, text := range list {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// newReach is what a site allows. The node's own addresses are out of reach too,
// unless private networks are in.
func newReach(l wire.Listen) (reach, error) {
	r := reach{loopback: l.Loopback, private: l.Private}
	for _, text := range l.Deny {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return r, fmt.Errorf("listen.deny %q must be a network such as 203.0.113.0/24", text)
		}
		r.deny = append(r.deny, network.Masked())
	}
	if l.Private {
		return r, nil
	}
	for _, text := range []string{l.PublicIP, l.Media, l.API} {
		if a, err := netip.ParseAddr(text); err == nil && !a.IsLoopback() {
			r.deny = append(r.deny, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return r, fmt.Errorf("list this node's addresses: %w", err)
	}
	for _, own := range addresses {
		if network, ok := own.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(network.IP); ok && !a.IsLoopback() {
				r.deny = append(r.deny, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			}
		}
	}
	return r, nil
}

// has reports whether the seat may send to an address.
func (r reach) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), in(never, a), in(r.deny, a):
		return false
	case in(loopback, a):
		return r.loopback
	}
	return r.private || !in(private, a)
}

func in(list []netip.Prefix, a netip.Addr) bool {
	for _, network := range list {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// hasIP is has in the form of pion, which also asks for the addresses that checks
// come from.
func (r reach) hasIP(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	return ok && r.has(a)
}

var errOutOfReach = errors.New("the seat does not send there")

// check says why a candidate is dropped: a line "candidate:…" as in an
// RTCIceCandidateInit. Its result is nil for those that are used.
func (r reach) check(line string) error {
	c, err := ice.UnmarshalCandidate(strings.TrimPrefix(line, "candidate:"))
	if err != nil {
		return fmt.Errorf("parse candidate: %w", err)
	}
	a, err := netip.ParseAddr(c.Address())
	switch {
	case err != nil:
		// A browser hides its address behind an mDNS name, which this side could only
		// resolve on its local network. Other names are no browser's.
		return fmt.Errorf("%w: %q is no address", errOutOfReach, c.Address())
	case !c.NetworkType().IsUDP():
		return fmt.Errorf("%w: it is not UDP", errOutOfReach)
	case c.Port() < 1024:
		return fmt.Errorf("%w: port %d is a service's", errOutOfReach, c.Port())
	case !r.has(a):
		return fmt.Errorf("%w: %s", errOutOfReach, a)
	}
	return nil
}

// filter takes the candidates out of an offer that are dropped, and those beyond
// the first maxCandidates. It returns how many are left.
func (r reach) filter(offer string) (filtered string, kept int) {
	var out strings.Builder
	out.Grow(len(offer))
	for line := range strings.Lines(offer) {
		if value, ok := strings.CutPrefix(line, "a=candidate:"); ok {
			if kept == maxCandidates || r.check(strings.TrimRight(value, "\r\n")) != nil {
				continue
			}
			kept++
		}
		out.WriteString(line)
	}
	return out.String(), kept
}
