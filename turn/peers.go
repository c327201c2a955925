package turn

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nearcast/nearcast/internal/wire"
)

// peers are the addresses and ports that relays may reach.
type peers struct {
	loopback bool // as at a site on one machine
	known    atomic.Pointer[map[netip.Addr][]ports]
	nodes    atomic.Int64
}

type ports struct{ min, max uint16 }

// set replaces all by those of the nodes. It returns what could not be read.
func (p *peers) set(nodes []wire.Node) (bad []error) {
	known := map[netip.Addr][]ports{}
	for _, node := range nodes {
		for _, text := range node.Media {
			a, r, err := parseMedia(text)
			if err != nil {
				bad = append(bad, fmt.Errorf("node %s: %w", node.Name, err))
				continue
			}
			if p.possible(a) {
				known[a] = append(known[a], r)
			}
		}
	}
	p.known.Store(&known)
	p.nodes.Store(int64(len(nodes)))
	return bad
}

// parseMedia reads one entry of wire.Node.Media.
func parseMedia(text string) (netip.Addr, ports, error) {
	host, span, err := net.SplitHostPort(text)
	if err != nil {
		return netip.Addr{}, ports{}, fmt.Errorf("parse media %q: %w", text, err)
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, ports{}, fmt.Errorf("parse media %q: %w", text, err)
	}
	low, high, _ := strings.Cut(span, "-")
	first, errFirst := strconv.ParseUint(low, 10, 16)
	last, errLast := strconv.ParseUint(high, 10, 16)
	if errFirst != nil || errLast != nil || first < 1024 || first > last {
		return netip.Addr{}, ports{}, fmt.Errorf("parse media %q: want ports such as 20000-20999, from 1024", text)
	}
	return a.Unmap(), ports{uint16(first), uint16(last)}, nil
}

// possible reports whether a seat can be there at all.
func (p *peers) possible(a netip.Addr) bool {
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.Is4() && a.As4()[0] >= 240:
		return false
	case a.IsLoopback():
		return p.loopback
	}
	return true
}

func (p *peers) ready() bool { return p.known.Load() != nil }

func (p *peers) of(a netip.Addr) []ports {
	known := p.known.Load()
	if known == nil {
		return nil
	}
	return (*known)[a.Unmap()]
}

// hasIP reports whether a seat has this address.
func (p *peers) hasIP(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	return ok && len(p.of(a)) > 0
}

// has reports whether a seat may take media at this address and port.
func (p *peers) has(at net.Addr) bool {
	udp, ok := at.(*net.UDPAddr)
	if !ok {
		return false
	}
	a := udp.AddrPort()
	for _, r := range p.of(a.Addr()) {
		if a.Port() >= r.min && a.Port() <= r.max {
			return true
		}
	}
	return false
}
