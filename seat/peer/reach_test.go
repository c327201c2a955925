package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestReach(t *testing.T) {
	own := ""
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			own = n.IP.String()
		}
	}
	const always, loop, priv, never = "public", "loopback", "private", "nobody"
	for address, who := range map[string]string{
		"93.184.215.14": always, "2606:2800:21f:cb07::1": always, "198.51.100.1": always,
		"127.0.0.1": loop, "127.200.0.1": loop, "::1": loop, "::ffff:127.0.0.1": loop,
		"10.1.2.3": priv, "172.16.0.1": priv, "172.31.255.255": priv, "192.168.1.1": priv, "100.64.0.1": priv,
		"198.18.1.9": priv, "fc00::1": priv, "fd12:3456::1": priv, "::ffff:10.0.0.1": priv,
		"64:ff9b::a00:1": priv, "2002:a00:1::1": priv,
		"169.254.169.254": never, "169.254.0.1": never, "::ffff:169.254.169.254": never, "fe80::1": never, "fd00:ec2::254": never,
		"0.0.0.0": never, "::": never, "224.0.0.1": never, "239.255.255.250": never, "255.255.255.255": never, "ff02::1": never,
		"203.0.113.77": never, // denied below
		own:            priv,
	} {
		if address == "" {
			continue // this machine has only loopback
		}
		for _, l := range []wire.Listen{{}, {Loopback: true}, {Private: true}, {Loopback: true, Private: true}} {
			l.Deny = []string{"203.0.113.0/24"}
			r, err := newReach(l)
			if err != nil {
				t.Fatal(err)
			}
			want := who == always || who == loop && l.Loopback || who == priv && l.Private
			if got := r.has(netip.MustParseAddr(address)); got != want {
				t.Errorf("loopback %v, private %v: %s is within reach: %v", l.Loopback, l.Private, address, got)
			}
			line := fmt.Sprintf("candidate:1 1 udp 2122260223 %s 50000 typ host", address)
			if got := r.check(line) == nil; got != want {
				t.Errorf("loopback %v, private %v: %s: %v", l.Loopback, l.Private, line, r.check(line))
			}
		}
	}
	r, _ := newReach(wire.Listen{PublicIP: "198.51.100.9"})
	for _, bad := range []string{
		"candidate:1 1 udp 1 198.51.100.9 50000 typ host", // the node's own
		"candidate:1 1 udp 1 4b1a8f9e-7c1c-4f43-8c3a-2f2d9b3f6c11.local 50000 typ host",
		"candidate:1 1 udp 1 consul.service.consul 50000 typ host",
		"candidate:1 1 udp 1 198.51.100.1 53 typ host",
		"candidate:1 1 tcp 1 198.51.100.1 50000 typ host tcptype passive",
		"candidate:", "", "x",
	} {
		if r.check(bad) == nil {
			t.Errorf("%q is checked", bad)
		}
	}
	if _, err := newReach(wire.Listen{Deny: []string{"x"}}); err == nil {
		t.Error("a network that is none is denied")
	}
}

// sink counts what comes to a UDP port, and answers nothing.
func sink(t *testing.T, host string, bytes, packets *atomic.Int64) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buffer := make([]byte, 2048); ; {
			n, _, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			bytes.Add(int64(n) + 28) // with the headers of IP and UDP
			packets.Add(1)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).Port
}

// TestSeatIsNoReflector names 200 addresses that answer nothing, half of them in the
// offer, and counts what the seat sends there before anybody has consented.
func TestSeatIsNoReflector(t *testing.T) {
	s := newSeat(t, func(c *Config) { c.Listen.Media = "127.0.0.1" })
	var bytes, packets atomic.Int64
	var ports []int
	for range 200 {
		ports = append(ports, sink(t, "127.0.0.1", &bytes, &packets))
	}
	candidate := func(i int) string {
		return fmt.Sprintf("candidate:%d 1 udp 2122260223 127.0.0.1 %d typ host", i, ports[i])
	}
	// The smallest offer that a seat answers, so that the ratio is at its worst.
	var small strings.Builder
	small.WriteString("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\n" +
		"a=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:" + strings.Repeat("p", 22) +
		"\r\na=fingerprint:sha-256 " + strings.Repeat("AA:", 31) + "AA\r\n" +
		"a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n")
	for i := range 100 {
		small.WriteString("a=" + candidate(i) + "\r\n")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := s.Answer(ctx, small.String()); err != nil {
		t.Fatal(err)
	}
	// What a stingy attacker would send: the offer and sixteen candidates.
	in := int64(small.Len() - 84*len("a="+candidate(0)+"\r\n"))
	for i := 100; i < 200; i++ {
		data, _ := json.Marshal(map[string]any{"candidate": candidate(i), "sdpMLineIndex": 0})
		if err := s.AddCandidate(data); err != nil {
			t.Fatal(err)
		}
	}
	last, since := int64(-1), time.Now()
	testkit.Within(t, 30*time.Second, "the seat gives up", func() bool {
		if n := packets.Load(); n != last {
			last, since = n, time.Now()
		}
		return last > 0 && time.Since(since) > 2*time.Second
	})
	ratio := float64(bytes.Load()) / float64(in)
	t.Logf("%d bytes in; %d packets, %d bytes out: %.2f out per byte in", in, packets.Load(), bytes.Load(), ratio)
	if packets.Load() > maxCandidates*maxChecks {
		t.Errorf("%d checks of %d addresses", packets.Load(), maxCandidates)
	}
	if ratio > 5 {
		t.Errorf("the seat sends %.1f bytes for each byte that it gets", ratio)
	}
}

// TestOfferOutOfReach names an address in a private network by offer and by
// trickling, and from behind it checks arrive.
func TestOfferOutOfReach(t *testing.T) {
	for name, l := range map[string]wire.Listen{"refused": {}, "allowed": {Loopback: true}} {
		var bytes, packets atomic.Int64
		port := sink(t, "127.0.0.1", &bytes, &packets)
		l.Media = "127.0.0.1"
		s := newSeat(t, func(c *Config) { c.Listen = l })
		line := fmt.Sprintf("candidate:1 1 udp 2122260223 127.0.0.1 %d typ host", port)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.Answer(ctx, newClient(t).offer(t)+"a="+line+"\r\n"); err != nil {
			t.Fatal(err)
		}
		data, _ := json.Marshal(map[string]string{"candidate": line, "sdpMid": "0"})
		if err := s.AddCandidate(data); err != nil {
			t.Fatal(err)
		}
		if name == "allowed" {
			testkit.Within(t, 10*time.Second, "the seat checks the address", func() bool { return packets.Load() > 0 })
			continue
		}
		select { // five times the interval of checks
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		if n := packets.Load(); n != 0 {
			t.Errorf("%d packets to an address out of reach", n)
		}
	}
}

// TestChecksFromOutOfReach has a browser on this node that names no address, but
// sends checks from one. The seat answers them only if private networks are allowed.
func TestChecksFromOutOfReach(t *testing.T) {
	for _, private := range []bool{false, true} {
		s, c := newSeat(t, func(c *Config) { c.Listen = wire.Listen{Private: private} }), newClient(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var offer strings.Builder
		for line := range strings.Lines(c.offer(t)) {
			if !strings.HasPrefix(line, "a=candidate") {
				offer.WriteString(line)
			}
		}
		answer, err := s.Answer(ctx, offer.String())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(answer, "a=candidate") {
			t.Skip("this machine has only loopback")
		}
		if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
			t.Fatal(err)
		}
		if private {
			s.reaches(t, Connected)
			continue
		}
		limit := time.After(3 * time.Second) // it takes milliseconds where it is allowed
		for waiting := true; waiting; {
			select {
			case state := <-s.states:
				if state == Connected {
					t.Error("a browser out of reach is connected")
				}
			case <-limit:
				waiting = false
			}
		}
	}
}
