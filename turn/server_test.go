package turn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/turn/v5"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/pionlog"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const current, previous ticket.TURNSecret = "the current secret", "the secret before"

// site is a TURN server and a seat that answers each packet with the same.
type site struct {
	*Server
	t          *testing.T
	udp        string
	tcp, tls   string
	seat, near *echoing // the seat, and another socket of the same address
}

func start(t *testing.T, change func(*Config)) *site {
	t.Helper()
	ports := testkit.Ports(t, 64)
	cfg := Config{Realm: "test", Secrets: []ticket.TURNSecret{current, previous}, RelayIP: netip.MustParseAddr("127.0.0.1"),
		PortMin: uint16(ports[0]), PortMax: uint16(ports[len(ports)-1]), PerName: 8, Relays: 32, Rate: 10 << 20, MaxAge: time.Hour, Loopback: true,
		Conns: guard.Limits{Unproven: 20, Proven: 20, Calm: 500 * time.Millisecond, Busy: 200 * time.Millisecond},
		Log:   testkit.Logger(t)}
	if change != nil {
		change(&cfg)
	}
	server, err := New(cfg)
	testkit.Must(t, err)
	s := &site{Server: server, t: t, seat: echo(t, "127.0.0.1"), near: echo(t, "127.0.0.1")}
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	testkit.Must(t, err)
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	testkit.Must(t, err)
	secure, err := net.Listen("tcp4", "127.0.0.1:0")
	testkit.Must(t, err)
	cert := newCertificate(t, t.TempDir())
	loaded, err := LoadCertificate(cert, cert, cfg.Log)
	testkit.Must(t, err)
	s.udp, s.tcp, s.tls = udp.LocalAddr().String(), tcp.Addr().String(), secure.Addr().String()
	s.Nodes([]wire.Node{{Name: "a", Media: []string{mediaAt(s.seat)}}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, Listeners{UDP: udp, TCP: tcp, TLS: secure, Certificate: loaded}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return s
}

func mediaAt(c *echoing) string {
	a := c.LocalAddr().(*net.UDPAddr)
	return fmt.Sprintf("%s:%d-%d", a.IP, a.Port, a.Port)
}

// echoing is a socket that sends back what it gets, and counts the packets.
type echoing struct {
	*net.UDPConn
	heard atomic.Int64
}

// echo makes one, until the test ends.
func echo(t *testing.T, ip string) *echoing {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(ip)})
	testkit.Must(t, err)
	e, done := &echoing{UDPConn: conn}, make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			e.heard.Add(1)
			conn.WriteTo(packet[:n], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return e
}

func good() (name, password string) { return current.Credentials(time.Now().Add(time.Minute)) }

// client connects by "udp", "tcp" or "tls".
func (s *site) client(kind, name, password string) *turn.Client {
	s.t.Helper()
	var conn net.PacketConn
	server := s.udp
	switch kind {
	case "udp":
		var err error
		conn, err = net.ListenPacket("udp4", "127.0.0.1:0")
		testkit.Must(s.t, err)
	case "tcp":
		server = s.tcp
		c, err := net.Dial("tcp4", server)
		testkit.Must(s.t, err)
		conn = turn.NewSTUNConn(c)
	case "tls":
		server = s.tls
		c, err := tls.Dial("tcp4", server, &tls.Config{InsecureSkipVerify: true})
		testkit.Must(s.t, err)
		conn = turn.NewSTUNConn(c)
	}
	s.t.Cleanup(func() { conn.Close() })
	c, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: name, Password: password,
		RTO: 100 * time.Millisecond, LoggerFactory: pionlog.To(s.log)})
	testkit.Must(s.t, err)
	s.t.Cleanup(c.Close)
	testkit.Must(s.t, c.Listen())
	return c
}

func (s *site) relay(kind string) (*turn.Client, net.PacketConn) {
	s.t.Helper()
	name, password := good()
	c := s.client(kind, name, password)
	relay, err := c.Allocate()
	testkit.Must(s.t, err)
	s.t.Cleanup(func() { relay.Close() })
	return c, relay
}

// reaches sends packets until one comes back, or for a while.
func reaches(relay net.PacketConn, to net.Addr, tries int) error {
	sent, got := []byte("a picture"), make([]byte, 1500)
	var err error
	for range tries {
		if _, err = relay.WriteTo(sent, to); err != nil {
			return err
		}
		relay.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		var n int
		var from net.Addr
		if n, from, err = relay.ReadFrom(got); err == nil {
			if !bytes.Equal(got[:n], sent) || from.String() != to.String() {
				return fmt.Errorf("%q from %s", got[:n], from)
			}
			return nil
		}
	}
	return err
}

func TestRelaysToTheSeat(t *testing.T) {
	for _, kind := range []string{"udp", "tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			s := start(t, nil)
			_, relay := s.relay(kind)
			testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
			// Another port of the seat's address is no seat's.
			if err := reaches(relay, s.near.LocalAddr(), 3); err == nil || s.near.heard.Load() > 0 {
				t.Errorf("a relay reached another port of the seat's address, with %d packets: %v", s.near.heard.Load(), err)
			}
		})
	}
}

// Nor do packets come from another port, though the address has a permission.
func TestHearsTheSeatAlone(t *testing.T) {
	s := start(t, nil)
	_, relay := s.relay("udp")
	testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
	_, err := s.near.WriteTo([]byte("not a seat"), relay.LocalAddr())
	testkit.Must(t, err)
	_, err = s.seat.WriteTo([]byte("the seat"), relay.LocalAddr())
	testkit.Must(t, err)
	relay.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, 1500)
	for {
		n, from, err := relay.ReadFrom(got)
		testkit.Must(t, err)
		if from.String() != s.seat.LocalAddr().String() {
			t.Fatalf("%q came from %s", got[:n], from)
		}
		if string(got[:n]) == "the seat" {
			return
		}
	}
}

func TestOtherAddressesAreRefused(t *testing.T) {
	s := start(t, func(c *Config) { c.Loopback = false })
	// Whatever a record says, no seat is there.
	s.Nodes([]wire.Node{{Name: "a", Media: []string{"127.0.0.1:1024-65535", "169.254.169.254:1024-65535", "224.0.0.1:1024-65535", "203.0.113.7:20000-20999"}}})
	c, _ := s.relay("udp")
	for _, peer := range []string{"127.0.0.1", "127.0.0.2", "169.254.169.254", "0.0.0.0", "224.0.0.1", "10.0.0.1", "203.0.113.8", "255.255.255.255"} {
		if err := c.CreatePermission(&net.UDPAddr{IP: net.ParseIP(peer), Port: 20000}); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a relay to %s: %v, want 403", peer, err)
		}
	}
	testkit.Must(t, c.CreatePermission(&net.UDPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 20000}))
	// A seat that is gone is refused again, and one that came is reached.
	s.Nodes([]wire.Node{{Name: "b", Media: []string{"203.0.113.9:20000-20999"}}})
	if err := c.CreatePermission(&net.UDPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 20000}); err == nil {
		t.Error("a relay to a seat that is gone")
	}
	testkit.Must(t, c.CreatePermission(&net.UDPAddr{IP: net.IPv4(203, 0, 113, 9), Port: 20000}))
}

func TestSeatGoneMeanwhile(t *testing.T) {
	s := start(t, nil)
	_, relay := s.relay("udp")
	testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
	s.Nodes(nil)
	if err := reaches(relay, s.seat.LocalAddr(), 3); err == nil {
		t.Error("the relay still reaches a seat that is gone")
	}
}

func TestCredentials(t *testing.T) {
	s := start(t, nil)
	name, password := good()
	oldName, oldPassword := previous.Credentials(time.Now().Add(time.Minute))
	lateName, latePassword := current.Credentials(time.Now().Add(-time.Second))
	strange := ticket.TURNSecret("a stranger's")
	strangeName, strangePassword := strange.Credentials(time.Now().Add(time.Minute))
	for _, c := range []struct {
		what, name, password string
		ok                   bool
	}{
		{"made of the secret", name, password, true},
		{"made of the secret before", oldName, oldPassword, true},
		{"with another's password", name, oldPassword, false},
		{"for longer than the password is for", "9" + name, password, false},
		{"that has run out", lateName, latePassword, false},
		{"of another secret", strangeName, strangePassword, false},
		{"of the secret before, signed by another", oldName, strange.Password(oldName), false},
		{"that no brain made", "somebody", password, false},
	} {
		relay, err := s.client("udp", c.name, c.password).Allocate()
		if err == nil {
			relay.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("a relay for a name %s: %v", c.what, err)
		}
	}
	if strings.Count(name, ":") != 2 || strings.Contains(name, string(current)) {
		t.Errorf("the name %q", name)
	}
}

// A picture outlives the name and password that its relay was made with, for a while.
func TestRelayOutlivesItsName(t *testing.T) {
	for _, c := range []struct {
		maxAge time.Duration
		goesOn bool
	}{{time.Hour, true}, {0, false}} {
		s := start(t, func(cfg *Config) { cfg.MaxAge = c.maxAge })
		until := time.Now().Truncate(time.Second).Add(2 * time.Second)
		name, password := current.Credentials(until)
		client := s.client("udp", name, password)
		relay, err := client.Allocate()
		testkit.Must(t, err)
		testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
		testkit.Until(t, "the name has expired", func() bool { return time.Now().After(until) })
		other := s.client("udp", name, password)
		if made, err := other.Allocate(); err == nil {
			made.Close()
			t.Error("a new relay for an expired name")
		}
		if err := client.CreatePermission(s.seat.LocalAddr()); (err == nil) != c.goesOn {
			t.Errorf("the relay goes on with %v: %v", c.maxAge, err)
		}
		relay.Close()
	}
}

func TestQuotas(t *testing.T) {
	t.Run("of a name", func(t *testing.T) {
		s := start(t, func(c *Config) { c.PerName = 2 })
		name, password := good()
		var last net.PacketConn
		for range 2 {
			relay, err := s.client("udp", name, password).Allocate()
			testkit.Must(t, err)
			t.Cleanup(func() { relay.Close() })
			last = relay
		}
		if _, err := s.client("udp", name, password).Allocate(); err == nil || !strings.Contains(err.Error(), "486") {
			t.Errorf("a third: %v, want 486", err)
		}
		s.relay("udp") // of another
		testkit.Must(t, last.Close())
		testkit.Until(t, "the relay ends", func() bool { return s.book.room(name) })
	})
	t.Run("in all", func(t *testing.T) {
		s := start(t, func(c *Config) { c.Relays = 2 })
		s.relay("udp")
		s.relay("tcp")
		name, password := good()
		if _, err := s.client("udp", name, password).Allocate(); err == nil || !strings.Contains(err.Error(), "486") {
			t.Errorf("a third: %v, want 486", err)
		}
	})
}

func TestRate(t *testing.T) {
	s := start(t, func(c *Config) { c.Rate = 100 << 10 })
	_, relay := s.relay("udp")
	testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
	const sent = 2000
	for range sent {
		_, err := relay.WriteTo(make([]byte, 1000), s.seat.LocalAddr())
		testkit.Must(t, err)
	}
	// The burst of 64 KiB, and what a second or two allow.
	bounded := func(what string, packets int64) {
		t.Helper()
		if packets < 20 || packets > 500 {
			t.Errorf("%s: %d of %d packets", what, packets, sent)
		}
	}
	come := func() (n int64) {
		for buf := make([]byte, 1500); ; n++ {
			relay.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			if _, _, err := relay.ReadFrom(buf); err != nil {
				return n
			}
		}
	}
	come() // what was sent has arrived, or was dropped
	bounded("to the seat", s.seat.heard.Load())
	for range sent {
		_, err := s.seat.WriteTo(make([]byte, 1000), relay.LocalAddr())
		testkit.Must(t, err)
	}
	bounded("to the person", come())
}

// Strangers by TCP and TLS that say nothing, or nothing of use, are cut; those with a relay stay.
func TestStrangersAreCut(t *testing.T) {
	s := start(t, nil)
	_, relay := s.relay("tcp")
	request := []byte{0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} // Allocate without a name
	for _, address := range []string{s.tcp, s.tls} {
		for what, say := range map[string][]byte{"silent": nil, "babbling": request, "malformed": bytes.Repeat([]byte{0xff}, 64)} {
			conn, err := net.Dial("tcp", address)
			testkit.Must(t, err)
			defer conn.Close()
			testkit.Until(t, what+" is cut", func() bool {
				if len(say) > 0 {
					conn.Write(say)
				}
				conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				_, err := conn.Read(make([]byte, 1500))
				var timeout net.Error
				return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
			})
		}
	}
	testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
}

func TestManyStrangers(t *testing.T) {
	s := start(t, func(c *Config) { c.Conns.Calm, c.Conns.Busy = time.Minute, time.Minute })
	const strangers, limit = 60, 20
	var cut atomic.Int64
	for range strangers {
		conn, err := net.Dial("tcp", s.tcp)
		testkit.Must(t, err)
		defer conn.Close()
		go func() {
			conn.Read(make([]byte, 1))
			cut.Add(1)
		}()
	}
	// Until all were accepted, the honest one below would be the oldest, which goes first.
	testkit.Until(t, "few are left", func() bool { return cut.Load() == strangers-limit })
	_, relay := s.relay("tls") // and an honest one is served
	testkit.Must(t, reaches(relay, s.seat.LocalAddr(), 25))
}

// Nothing is held for connections that ended.
func TestConnectionsAreForgotten(t *testing.T) {
	s := start(t, nil)
	_, relay := s.relay("tls")
	testkit.Must(t, relay.Close())
	testkit.Until(t, "all is forgotten", func() bool {
		s.conns.mu.Lock()
		defer s.conns.mu.Unlock()
		unproven, proven, _ := s.conns.guard.Counts()
		return len(s.conns.open) == 0 && unproven+proven == 0 && s.book.count() == 0
	})
}
