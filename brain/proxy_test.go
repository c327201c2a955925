package brain_test

import (
	"io"
	"net"
	"sync"
)

// proxy forwards to Consul until it is cut.
func (s *site) proxy() (address string, cut func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		dead  bool
		all   sync.WaitGroup
	)
	all.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", s.consul.Address)
			mu.Lock()
			if err != nil || dead {
				a.Close()
				if b != nil {
					b.Close()
				}
				mu.Unlock()
				continue
			}
			conns = append(conns, a, b)
			mu.Unlock()
			all.Go(func() { io.Copy(a, b); a.Close(); b.Close() })
			all.Go(func() { io.Copy(b, a); a.Close(); b.Close() })
		}
	})
	cut = func() {
		mu.Lock()
		dead = true
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		l.Close()
		all.Wait()
	}
	s.t.Cleanup(cut)
	return l.Addr().String(), cut
}
