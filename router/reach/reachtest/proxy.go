// Package reachtest has a TCP proxy that cuts connections off like a broken
// network, for tests.
//
//	proxy := reachtest.NewProxy(t, router)
//	connect to proxy.Address
//	proxy.Cut()  // nothing gets through, and no connection is closed
//	proxy.Heal() // what was held back gets through
package reachtest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy forwards TCP connections to an address until it is cut. Then it still
// accepts connections and bytes, but forwards nothing, like a network that drops
// packets. After Heal it forwards what it held back.
type Proxy struct {
	Address string // where to connect to

	to    string
	mu    sync.Mutex
	open  chan struct{} // closed while the proxy forwards
	done  chan struct{}
	conns []net.Conn
}

// NewProxy makes a proxy to an address. It ends with the test.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: listener.Addr().String(), to: to, open: make(chan struct{}), done: make(chan struct{})}
	close(p.open)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.forward(conn) })
		}
	})
	t.Cleanup(func() {
		close(p.done)
		listener.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	return p
}

// Cut stops forwarding.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// Heal forwards again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.open)
}

// wait returns when the proxy forwards; false when the test is over.
func (p *Proxy) wait() bool {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
		return true
	case <-p.done:
		return false
	}
}

// add closes a connection when the test ends.
func (p *Proxy) add(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		c.Close()
	default:
		p.conns = append(p.conns, c)
	}
}

func (p *Proxy) forward(from net.Conn) {
	p.add(from)
	defer from.Close()
	if !p.wait() {
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	p.add(to)
	defer to.Close()
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(to, from) })
	wg.Go(func() { p.copy(from, to) })
	wg.Wait()
}

func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.wait() {
			return
		}
		if _, failed := to.Write(buf[:n]); failed != nil {
			return
		}
		if err != nil {
			if err == io.EOF {
				if tcp, ok := to.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
				}
			}
			return
		}
	}
}
