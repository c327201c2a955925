package turn

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/turn/v5"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
)

func checkName(secret ticket.TURNSecret) (name, password string) {
	return secret.ForChecks().Credentials(time.Now().Add(time.Minute))
}

// A name for checks gets an answer by each way, and nothing that is of use: no packet, no
// port, none of the places that people with a seat need.
func TestChecksCarryNothing(t *testing.T) {
	for _, kind := range []string{"udp", "tcp", "tls"} {
		t.Run(kind, func(t *testing.T) {
			s := start(t, func(c *Config) { c.Relays, c.Conns.Calm = 1, time.Minute })
			name, password := checkName(current)
			client := s.client(kind, name, password)
			relay, err := client.Allocate()
			testkit.Must(t, err)
			defer relay.Close()
			// Neither a seat's address nor another: strangers do not learn which are seats.
			for _, peer := range []net.Addr{s.seat.LocalAddr(), &net.UDPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 1024}} {
				if err := client.CreatePermission(peer); err == nil || !strings.Contains(err.Error(), "403") {
					t.Errorf("a permission for %s: %v, want 403", peer, err)
				}
			}
			if err := reaches(relay, s.seat.LocalAddr(), 3); err == nil || s.seat.heard.Load() > 0 {
				t.Errorf("a relay for a check reached a seat with %d packets: %v", s.seat.heard.Load(), err)
			}
			if n := s.book.count(); n != 0 {
				t.Errorf("it took %d of the relays", n)
			}
			if _, proven, _ := s.conns.guard.Counts(); proven != 0 {
				t.Errorf("%d connections count as proven", proven)
			}
			s.relay(kind) // the only one that the server has
		})
	}
}

func TestChecksNeedAName(t *testing.T) {
	s := start(t, nil)
	name, password := checkName(previous)
	relay, err := s.client("udp", name, password).Allocate()
	testkit.Must(t, err) // of the secret before
	relay.Close()
	late, latePassword := current.ForChecks().Credentials(time.Now().Add(-time.Second))
	strange, strangePassword := checkName("a stranger's")
	good, goodPassword := good()
	for what, c := range map[string][2]string{
		"has run out": {late, latePassword}, "is a stranger's": {strange, strangePassword}, "has the password of people": {name, previous.Password(name)},
		"is of people, with the password of checks": {good, current.ForChecks().Password(good)}, "is the user of checks": {checkUser, goodPassword},
	} {
		if relay, err := s.client("udp", c[0], c[1]).Allocate(); err == nil {
			relay.Close()
			t.Errorf("a relay for a name that %s", what)
		}
	}
}

// Many checks end the oldest, and each ends by itself: also where nobody says goodbye.
func TestChecksEnd(t *testing.T) {
	s := start(t, func(c *Config) { c.Conns.Calm = time.Minute })
	change := func(most int, life time.Duration) {
		s.checks.mu.Lock()
		defer s.checks.mu.Unlock()
		s.checks.most, s.checks.life = most, life
	}
	change(4, time.Minute)
	name, password := checkName(current)
	allocate := func(kind string) {
		relay, err := s.client(kind, name, password).Allocate()
		testkit.Must(t, err)
		t.Cleanup(func() { relay.Close() })
	}
	for range 12 {
		allocate("udp")
	}
	if n := s.checks.count(); n > 4 {
		t.Errorf("%d relays for checks, want 4 at most", n)
	}
	change(4, 100*time.Millisecond)
	for range 4 {
		allocate("tcp")
	}
	testkit.Until(t, "all have ended, with their connections", func() bool {
		s.conns.mu.Lock()
		defer s.conns.mu.Unlock()
		s.checks.mu.Lock()
		defer s.checks.mu.Unlock()
		return len(s.checks.open) == 0 && len(s.checks.clients) == 0 && len(s.conns.open) == 0
	})
}

// Nobody makes the server look for a pair of ports: no relay's port can be asked for.
func TestNoPairOfPorts(t *testing.T) {
	r := &relays{ip: netip.MustParseAddr("127.0.0.1"), portMin: 1024, portMax: 65535, book: &book{perName: 1, all: 1, names: map[string]int{}}}
	if conn, _, err := r.AllocatePacketConn(turn.AllocateListenerConfig{Network: "udp4"}); err != errPort {
		t.Errorf("a port for nobody: %v, %v", conn, err)
	}
}
