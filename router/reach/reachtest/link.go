// Package reachtest has a network link that tests can cut.
package reachtest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Link carries TCP connections to an address, until it is cut: then it takes
// bytes and connections and passes nothing on, as a network does that drops
// packets. What was held back goes on when it is mended.
type Link struct {
	Address string // where to connect to

	to   string
	mu   sync.Mutex
	open chan struct{} // closed while the link carries
	done chan struct{}
	ends []net.Conn
}

// NewLink makes a link to an address. It ends with the test.
func NewLink(t testing.TB, to string) *Link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Address: listener.Addr().String(), to: to, open: make(chan struct{}), done: make(chan struct{})}
	close(l.open)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.carry(conn) })
		}
	})
	t.Cleanup(func() {
		close(l.done)
		listener.Close()
		l.mu.Lock()
		for _, c := range l.ends {
			c.Close()
		}
		l.mu.Unlock()
		wg.Wait()
	})
	return l
}

// Cut makes the link swallow what it is given.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = make(chan struct{})
}

// Mend makes the link carry again.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.open)
}

// wait until the link carries; false when the test is over.
func (l *Link) wait() bool {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-open:
		return true
	case <-l.done:
		return false
	}
}

// keep closes a connection when the test ends.
func (l *Link) keep(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		c.Close()
	default:
		l.ends = append(l.ends, c)
	}
}

func (l *Link) carry(from net.Conn) {
	l.keep(from)
	defer from.Close()
	if !l.wait() {
		return
	}
	to, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	l.keep(to)
	defer to.Close()
	var wg sync.WaitGroup
	wg.Go(func() { l.copy(to, from) })
	wg.Go(func() { l.copy(from, to) })
	wg.Wait()
}

func (l *Link) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !l.wait() {
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
