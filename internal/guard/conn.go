package guard

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/nearcast/nearcast/internal/answer"
)

// Conn is a connection that a Guard counts. The methods of nil do nothing and
// allow everything: a handler may be tested without a Guard.
type Conn struct {
	net.Conn
	guard *Guard

	// guard.mu guards the rest.
	client netip.Addr    // invalid while it is a proxy's
	since  time.Time     // it became unproven, or had its last answer
	place  *list.Element // among the unproven; nil once it is proven
	bytes  int           // that are held for it
	gone   bool
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.guard.mu.Lock()
	c.guard.forget(c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}

type listener struct {
	net.Listener
	guard *Guard
}

// Listener counts the connections of l.
func (g *Guard) Listener(l net.Listener) net.Listener {
	if g.limits.Pace != nil {
		lobby := newLobby(l, g.limits.Pace, g.limits.Proxies, g.cut, g.full)
		g.lobby.Store(lobby)
		l = lobby
	}
	return &listener{l, g}
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: inner, guard: l.guard}
	if a := addressOf(inner.RemoteAddr().String()); !l.guard.limits.Proxies.Has(a) {
		c.client = a
	}
	l.guard.enter(c)
	return c, nil
}

type key struct{}

// Attach makes Of work in the handlers of a server, and sets the limits that a
// server has itself.
func (g *Guard) Attach(s *http.Server) {
	s.MaxHeaderBytes = answer.ReadHeader
	s.ReadHeaderTimeout = g.limits.Calm
	s.ReadTimeout = g.limits.Calm
	s.WriteTimeout = 2 * g.limits.Calm
	s.IdleTimeout = g.limits.Calm
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, key{}, guarded(c))
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if conn := guarded(c); conn != nil && state == http.StateIdle {
			conn.answered()
		}
	}
}

func guarded(c net.Conn) *Conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	conn, _ := c.(*Conn)
	return conn
}

// Of is the connection that a request came by, or nil.
func Of(ctx context.Context) *Conn {
	c, _ := ctx.Value(key{}).(*Conn)
	return c
}

// answered notes that a request was answered: the next one has its time again.
func (c *Conn) answered() {
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	if c.place != nil {
		c.since = time.Now()
		c.guard.unproven.MoveToBack(c.place)
	}
}

// Identify says whose connection it is, where a proxy stands in between.
func (c *Conn) Identify(client netip.Addr) {
	if c == nil || !client.IsValid() {
		return
	}
	g := c.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone || c.place == nil || c.client == client {
		return
	}
	g.add(c.client, -1, 0)
	c.client = client
	g.add(c.client, 1, 0)
	g.fit(client)
}

// Network is the /24 or /48 of the connection's client; the zero value where it is not known.
func (c *Conn) Network() netip.Prefix {
	if c == nil {
		return netip.Prefix{}
	}
	c.guard.mu.Lock()
	defer c.guard.mu.Unlock()
	return wide(c.client)
}

// Prove moves the connection to the proven ones. Its error is ErrFull or
// ErrNetwork, or net.ErrClosed where it was cut.
func (c *Conn) Prove() error {
	if c == nil {
		return nil
	}
	g := c.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone {
		return net.ErrClosed
	}
	if c.place == nil {
		return nil
	}
	if err := g.room(c.client); err != nil {
		why := CutFull
		if err == ErrNetwork {
			why = CutNetwork
		}
		g.cut(why)
		return err
	}
	if over(g.provenBytes+c.bytes, g.limits.ProvenBytes) {
		g.cut(CutBytes)
		return ErrFull
	}
	g.unproven.Remove(c.place)
	c.place = nil
	g.add(c.client, -1, 1)
	g.proven++
	g.unprovenBytes -= c.bytes
	g.provenBytes += c.bytes
	return nil
}

// Reserve counts n bytes that are to be held for the connection. It reports false
// where that is over a limit. For unproven connections the oldest ones make room.
func (c *Conn) Reserve(n int) bool {
	if c == nil {
		return true
	}
	g := c.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone {
		return false
	}
	if over(c.bytes+n, g.limits.ConnBytes) || c.place == nil && over(g.provenBytes+n, g.limits.ProvenBytes) {
		g.cut(CutBytes)
		return false
	}
	c.bytes += n
	if c.place == nil {
		g.provenBytes += n
		return true
	}
	g.unprovenBytes += n
	g.fit(netip.Addr{})
	return !c.gone
}

// Release takes back what Reserve counted.
func (c *Conn) Release(n int) {
	if c == nil {
		return
	}
	g := c.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.gone {
		return
	}
	c.bytes -= n
	if c.place == nil {
		g.provenBytes -= n
	} else {
		g.unprovenBytes -= n
	}
}
