package guard

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Networks are the networks that an address counts for: an IPv4 address and its /24, or
// the /64 and the /48 of an IPv6 address. The zero address is in the network of all such.
func Networks(a netip.Addr) (nearby, around netip.Prefix) { return near(a), wide(a) }

func near(a netip.Addr) netip.Prefix { return prefix(a, 32, 64) }
func wide(a netip.Addr) netip.Prefix { return prefix(a, 24, 48) }

func prefix(a netip.Addr, v4, v6 int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := v6
	if a.Is4() {
		bits = v4
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // of no address
	}
	return p
}

// addressOf is the address of host:port, the zero value where there is none.
func addressOf(hostport string) netip.Addr {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// Proxies are the networks of the proxies that are believed.
type Proxies []netip.Prefix

// ParseProxies reads networks such as 10.0.1.0/24, and single addresses.
func ParseProxies(list []string) (Proxies, error) {
	var out Proxies
	for _, text := range list {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			a, errAddr := netip.ParseAddr(text)
			if errAddr != nil {
				return nil, fmt.Errorf("%q must be a network such as 10.0.1.0/24: %w", text, err)
			}
			network = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, network.Masked())
	}
	return out, nil
}

// Has reports whether an address is a proxy's.
func (p Proxies) Has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// Client is the address of the client that made a request. X-Forwarded-For counts
// only as far as proxies wrote it: it is read from its end, and the first address
// that is no proxy's is the client's.
func (p Proxies) Client(r *http.Request) netip.Addr {
	client := addressOf(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && p.Has(client); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		client = hop.Unmap().WithZone("")
	}
	return client
}
