package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"
)

// freePorts are n ports of 127.0.0.1 in a row, below those that the kernel gives out.
func freePorts(n int) ([]int, error) {
	for range 200 {
		first := 20_000 + rand.N(10_000)
		ports := make([]int, 0, n)
		for port := first; port < first+n; port++ {
			if !free(port) {
				break
			}
			ports = append(ports, port)
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("find %d free ports in a row", n)
}

func free(port int) bool {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	udp.Close()
	return true
}

// until tries until there is no error. Its own error has the last one in it.
func until(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if !pause(ctx.Done(), 20*time.Millisecond) {
			return fmt.Errorf("wait until %s: not within %s: %w", what, limit, err)
		}
	}
}
