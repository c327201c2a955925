package turn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/turn/v5"
	"golang.org/x/time/rate"
)

var (
	errTCP   = errors.New("relays carry UDP only")
	errIPv6  = errors.New("relays have IPv4 addresses only")
	errPort  = errors.New("a relay's port cannot be chosen")
	errQuota = errors.New("too many relays")
	errPorts = errors.New("no relay port is free")
)

// book counts the relays, of each name and in all.
type book struct {
	perName, all int

	mu    sync.Mutex
	names map[string]int
	total int
}

func (b *book) room(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[name] < b.perName && b.total < b.all
}

func (b *book) take(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names[name] >= b.perName || b.total >= b.all {
		return false
	}
	b.names[name]++
	b.total++
	return true
}

func (b *book) give(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.names[name]--; b.names[name] <= 0 {
		delete(b.names, name)
	}
}

func (b *book) has(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[name] > 0
}

func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

// relays makes the sockets of relays. It is pion's RelayAddressGenerator.
type relays struct {
	ip, external     netip.Addr
	portMin, portMax uint16
	rate             int // bytes a second and direction
	book             *book
	checks           *checks
	peers            *peers
	metrics          *metrics
}

func (r *relays) Validate() error { return nil }

func (r *relays) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errTCP
}

func (r *relays) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errTCP }

func (r *relays) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	switch {
	case c.Network == "udp6":
		return nil, nil, errIPv6
	case c.RequestedPort != 0, c.UserID == "": // nobody: a port is looked for, to be asked for by its number
		return nil, nil, errPort
	case c.UserID == checkUser:
		at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.external, r.portMin))
		return r.checks.relay(at), at, nil
	}
	if !r.book.take(c.UserID) {
		r.metrics.refused("quota")
		return nil, nil, errQuota
	}
	conn, err := r.listen()
	if err != nil {
		r.book.give(c.UserID)
		r.metrics.refused("ports")
		return nil, nil, err
	}
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	limit := func() *rate.Limiter { return rate.NewLimiter(rate.Limit(r.rate), max(r.rate/4, 64<<10)) }
	made := &relay{PacketConn: conn, relays: r, name: c.UserID, in: limit(), out: limit()}
	return made, net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.external, port)), nil
}

// listen takes a free port, from a random place on: ports of relays that ended are not
// used again at once, and a crowded range is searched to its end.
func (r *relays) listen() (*net.UDPConn, error) {
	n := int(r.portMax) - int(r.portMin) + 1
	start := rand.IntN(n)
	for i := range n {
		port := r.portMin + uint16((start+i)%n)
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(r.ip, port)))
		if err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("%w in %d-%d", errPorts, r.portMin, r.portMax)
}

// relay is the socket of one relay.
type relay struct {
	net.PacketConn
	relays  *relays
	name    string
	in, out *rate.Limiter
	close   sync.Once
}

// WriteTo drops what is not for a seat, as a network does that loses it.
func (c *relay) WriteTo(packet []byte, to net.Addr) (int, error) {
	m := c.relays.metrics
	switch {
	case !c.relays.peers.has(to):
		m.dropped("peer")
	case !c.out.AllowN(now(), len(packet)):
		m.dropped("rate")
	default:
		n, err := c.PacketConn.WriteTo(packet, to)
		m.toSeats.Add(float64(n))
		return n, err
	}
	return len(packet), nil
}

// ReadFrom returns what comes from seats.
func (c *relay) ReadFrom(buf []byte) (int, net.Addr, error) {
	m := c.relays.metrics
	for {
		n, from, err := c.PacketConn.ReadFrom(buf)
		switch {
		case err != nil:
			return n, from, err
		case !c.relays.peers.has(from):
			m.dropped("peer")
		case !c.in.AllowN(now(), n):
			m.dropped("rate")
		default:
			m.toPeople.Add(float64(n))
			return n, from, nil
		}
	}
}

func (c *relay) Close() error {
	c.close.Do(func() { c.relays.book.give(c.name) })
	return c.PacketConn.Close()
}
