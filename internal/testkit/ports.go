package testkit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"testing"
)

// Ports come from below those that the kernel gives to connections (from 32768) and
// Nomad to jobs (20000 to 32000).
const firstPort, endPort = 10_000, 20_000

// Ports are n ports in a row that are free for TCP and UDP on 127.0.0.1. No other
// test gets them until this one has ended.
func Ports(t testing.TB, n int) []int {
	t.Helper()
	for range 1000 {
		first := firstPort + rand.N(endPort-firstPort-n)
		if claims := claim(first, n); claims != nil {
			t.Cleanup(func() { release(claims) })
			ports := make([]int, n)
			for i := range ports {
				ports[i] = first + i
			}
			return ports
		}
	}
	t.Fatalf("there are no %d free ports in a row between %d and %d", n, firstPort, endPort)
	return nil
}

// Address is a free port on 127.0.0.1, as host:port.
func Address(t testing.TB) string {
	t.Helper()
	return address(Ports(t, 1)[0])
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// claim takes n ports from first, or none. A port is claimed by a socket in the
// abstract namespace: all processes of the same network namespace see it, whatever
// their user, and it ends with its process.
func claim(first, n int) (claims []net.PacketConn) {
	for port := first; port < first+n; port++ {
		c, err := net.ListenPacket("unixgram", fmt.Sprintf("@nearcast-test-port-%d", port))
		if err != nil || !free(port) {
			if c != nil {
				claims = append(claims, c)
			}
			release(claims)
			return nil
		}
		claims = append(claims, c)
	}
	return claims
}

func release(claims []net.PacketConn) {
	for _, c := range slices.Backward(claims) {
		c.Close()
	}
}

// free reports whether a port can be listened on now.
func free(port int) bool {
	tcp, err := net.Listen("tcp", address(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", address(port))
	if err != nil {
		return false
	}
	udp.Close()
	return true
}
