package turn

import (
	"net"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/guard"
)

// unreadFor is how long a person may leave unread what a relay sends by TCP.
const unreadFor = 10 * time.Second

// conns are the connections by TCP and TLS. Each is a stranger's until it has a relay.
type conns struct {
	guard *guard.Guard

	mu   sync.Mutex
	open map[string]*conn // by both ends
}

func newConns(limits guard.Limits, cut func(string)) *conns {
	return &conns{guard: guard.New(limits, cut), open: map[string]*conn{}}
}

type listener struct {
	net.Listener
	conns *conns
}

// listener bounds what l accepts.
func (c *conns) listener(l net.Listener) net.Listener {
	return &listener{c.guard.Listener(l), c}
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, conns: l.conns}
	l.conns.mu.Lock()
	defer l.conns.mu.Unlock()
	l.conns.open[ends(c.RemoteAddr(), c.LocalAddr())] = c
	return c, nil
}

func ends(from, to net.Addr) string { return from.String() + " " + to.String() }

func (c *conns) find(from, to net.Addr) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[ends(from, to)]
}

// prove notes that the one at the other end has a relay. Where too many have, it is cut.
func (c *conns) prove(from, to net.Addr) {
	if found := c.find(from, to); found != nil {
		if found.Conn.(*guard.Conn).Prove() != nil {
			found.Close()
		}
	}
}

// end closes a connection whose relay has ended.
func (c *conns) end(from, to net.Addr) {
	if found := c.find(from, to); found != nil {
		found.Close()
	}
}

// closeAll closes all connections.
func (c *conns) closeAll() {
	c.mu.Lock()
	all := make([]*conn, 0, len(c.open))
	for _, one := range c.open {
		all = append(all, one)
	}
	c.mu.Unlock()
	for _, one := range all {
		one.Close()
	}
}

type conn struct {
	net.Conn
	conns *conns
}

// Write ends a connection whose other end does not read.
func (c *conn) Write(data []byte) (int, error) {
	c.SetWriteDeadline(now().Add(unreadFor))
	n, err := c.Conn.Write(data)
	if err != nil {
		c.Close()
	}
	return n, err
}

func (c *conn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	if err != nil {
		c.Close() // the guard may have closed the inner one
	}
	return n, err
}

func (c *conn) Close() error {
	c.conns.mu.Lock()
	if key := ends(c.RemoteAddr(), c.LocalAddr()); c.conns.open[key] == c {
		delete(c.conns.open, key)
	}
	c.conns.mu.Unlock()
	return c.Conn.Close()
}
