package testkit

import (
	"net"
	"sync"
	"testing"
)

func TestPorts(t *testing.T) {
	var (
		mu    sync.Mutex
		taken = map[int]bool{}
		all   sync.WaitGroup
	)
	for range 8 {
		all.Go(func() {
			for range 10 {
				ports := Ports(t, 5)
				mu.Lock()
				for i, port := range ports {
					if taken[port] || port != ports[0]+i || port < firstPort || port >= endPort {
						t.Errorf("ports %v, after %v", ports, taken)
					}
					taken[port] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	// They can be used, while nobody else gets them.
	for port := range taken {
		if !free(port) {
			t.Errorf("port %d is not free", port)
		}
		if c := claim(port, 1); c != nil {
			release(c)
			t.Errorf("port %d is claimed twice", port)
		}
	}
}

func TestPortsAreGivenBack(t *testing.T) {
	var port int
	t.Run("use", func(t *testing.T) { port = Ports(t, 1)[0] })
	c := claim(port, 1)
	if c == nil {
		t.Fatalf("port %d is not given back", port)
	}
	release(c)
}

func TestTakenPort(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		first := Ports(t, 3)[0]
		end := listen(t, network, address(first+1))
		if free(first + 1) {
			t.Errorf("a port that %s uses is free", network)
		}
		end()
		if !free(first + 1) {
			t.Errorf("a port that %s used is taken", network)
		}
	}
	// Of a row with a taken port in it nothing is kept.
	var first int
	t.Run("use", func(t *testing.T) { first = Ports(t, 3)[0] })
	defer listen(t, "tcp", address(first+2))()
	if claim(first, 3) != nil {
		t.Error("a row with a taken port in it is claimed")
	}
	c := claim(first, 2)
	if c == nil {
		t.Fatal("a claim that failed is kept")
	}
	release(c)
}

func listen(t *testing.T, network, address string) (end func()) {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		Must(t, err)
		return func() { c.Close() }
	}
	l, err := net.Listen(network, address)
	Must(t, err)
	return func() { l.Close() }
}
