package testkit

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy carries TCP connections to an address until it is cut or broken.
type Proxy struct {
	Address string // where to connect to

	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	open   chan struct{} // closed while the proxy carries
	broken chan struct{} // closed at the end
	ends   []net.Conn
}

// StartProxy carries connections to an address until the test ends.
func StartProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: listener.Addr().String(), to: to, listener: listener, open: make(chan struct{}), broken: make(chan struct{})}
	close(p.open)
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.carry(conn) })
		}
	})
	t.Cleanup(p.Break)
	return p
}

// Cut makes the proxy take connections and bytes and pass nothing on, as a network
// does that drops packets.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// Heal makes the proxy carry again, first what it held back.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.open)
}

// Break closes all connections and refuses new ones, as after the death of a
// process. It cannot be undone.
func (p *Proxy) Break() {
	p.mu.Lock()
	select {
	case <-p.broken:
	default:
		close(p.broken)
	}
	p.listener.Close()
	for _, c := range p.ends {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// wait until the proxy carries; false once it is broken.
func (p *Proxy) wait() bool {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	select {
	case <-open:
		return true
	case <-p.broken:
		return false
	}
}

// keep closes a connection when the proxy breaks.
func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.broken:
		c.Close()
	default:
		p.ends = append(p.ends, c)
	}
}

func (p *Proxy) carry(from net.Conn) {
	p.keep(from)
	defer from.Close()
	if !p.wait() {
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	p.keep(to)
	defer to.Close()
	var both sync.WaitGroup
	both.Go(func() { p.copy(to, from) })
	both.Go(func() { p.copy(from, to) })
	both.Wait()
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
