package main

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

// node is one that has seats. Its registrar's key stands in Consul, and it tells each brain
// of its seats. Its seat APIs are served by the benchmark's one listener.
type node struct {
	name  string
	me    *identity.Identity
	seats []*seat

	// What the record in Consul says, and when it was written.
	class   string
	written time.Time

	mu    sync.Mutex
	cut   chan struct{} // open while the node's network carries nothing, else nil
	clock time.Duration // how far its clock is ahead
}

// now is the time by the node's clock.
func (n *node) now() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Add(n.clock)
}

func (n *node) setClock(ahead time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clock = ahead
}

// setCut cuts the node off, as a network does that drops packets, or heals that.
func (n *node) setCut(is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case is && n.cut == nil:
		n.cut = make(chan struct{})
	case !is && n.cut != nil:
		close(n.cut)
		n.cut = nil
	}
}

// carries waits until the node's network carries.
func (n *node) carries() {
	n.mu.Lock()
	cut := n.cut
	n.mu.Unlock()
	if cut != nil {
		<-cut
	}
}

// through is a connection that passes through a node's network.
type through struct {
	net.Conn
	node *node
}

func (t through) Read(b []byte) (int, error) {
	t.node.carries()
	n, err := t.Conn.Read(b)
	t.node.carries()
	return n, err
}

func (t through) Write(b []byte) (int, error) {
	t.node.carries()
	return t.Conn.Write(b)
}

// seatsPerNode is how many seats a node has at most.
const seatsPerNode = 16

// seatNet is where the addresses of seats begin: each has its own in 127.32.0.0/11.
const seatNet = 32

// addressOf is the address of a seat API, by the seat's number at the site.
func addressOf(seat, port int) string {
	return fmt.Sprintf("127.%d.%d.%d:%d", seatNet+seat>>16, seat>>8&255, seat&255, port)
}

// numberOf is addressOf the other way.
func numberOf(address net.Addr) (seat int, ok bool) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return 0, false
	}
	ip := tcp.IP.To4()
	if ip == nil || ip[0] != 127 || ip[1] < seatNet || ip[1] >= 2*seatNet {
		return 0, false
	}
	return int(ip[1]-seatNet)<<16 | int(ip[2])<<8 | int(ip[3]), true
}

// record is the seat as its node tells of it. seat.mu is held.
func (s *seat) record() wire.Seat {
	return wire.Seat{ID: s.id, App: s.app, Job: s.job, Node: s.node.name, Address: s.address, Key: s.node.me.Key(),
		State: s.state, Session: s.session, Since: s.since.UTC(), Network: s.network, Measured: s.measured, Quality: s.quality}
}

// measure makes up what a seat that streams measures. seat.mu is held.
func (s *seat) measure(now time.Time) {
	n := float64(s.number % 10)
	s.measured = (&wire.Measured{
		At: now, RTTMS: 20 + n, Loss: n / 1000, BitrateKbps: 3000 + 100*n, TargetKbps: 8000, FPS: 30, Paints: 20 + n, CaptureMS: 2.5, EncodeMS: 5 + n,
		QueueMS: 3, InjectMS: 0.4, Encoder: "x264enc", Preset: "superfast", Width: 1280, Height: 720,
		Page: &wire.PageMeasured{FPS: 29.8, FrozenMS: n, DecodeMS: 4.2, BufferMS: 21.3, Concealed: n / 1000},
	}).Bounded(now)
	s.quality = (&wire.Quality{DurationS: now.Sub(s.since).Seconds(), RTTMS: 21.4, RTTP95MS: 33.9, Loss: 0.004, FPS: 29.7, BitrateKbps: 3200.5, FrozenS: 0.1}).Bounded()
}
