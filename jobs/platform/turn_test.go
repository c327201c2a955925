package platform_test

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pion/turn/v5"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// turnServer is coturn, run by turn.nomad.hcl.
type turnServer struct {
	missing          error // why there is none
	binary           string
	port             int
	url              string // as browsers get it
	secret, previous string
}

func newTURN(s *site) turnServer {
	binary, err := exec.LookPath("turnserver")
	if err != nil {
		err = fmt.Errorf("the Debian package coturn is missing: %w", err)
	}
	port := testkit.Ports(s.t, 1)[0]
	return turnServer{missing: err, binary: binary, port: port, url: "turn:" + local(port), secret: uuid.NewString(), previous: uuid.NewString()}
}

func (ts turnServer) start(s *site) {
	s.t.Helper()
	s.nomad("var", "put", "nomad/jobs/turn", "secret="+ts.secret, "previous="+ts.previous)
	if ts.missing != nil {
		return
	}
	s.nomad("job", "run", "-detach", "-var=driver=raw_exec", "-var=node_pool=default", "-var=count=1",
		"-var=binary="+ts.binary, fmt.Sprintf("-var=port=%d", ts.port),
		// One machine is server, person and seat.
		`-var=allowed_peers=["127.0.0.1"]`, `-var=options=["allow-loopback-peers"]`, "turn.nomad.hcl")
}

// relays sends a packet to a seat and back by way of the relay that a session's
// ICE servers name.
func (ts turnServer) relays(s *site, t *testing.T, servers []wire.ICEServer) {
	if len(servers) != 1 || len(servers[0].URLs) != 1 || servers[0].URLs[0] != ts.url || servers[0].Username == "" {
		t.Fatalf("ICE servers: %+v", servers)
	}
	if ts.missing != nil {
		t.Skip(ts.missing)
	}
	s.address("turn")

	echo, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := echo.ReadFrom(packet)
			if err != nil {
				return
			}
			echo.WriteTo(packet[:n], from)
		}
	}()

	user, password := servers[0].Username, servers[0].Credential
	var relay net.PacketConn
	var client *turn.Client
	s.until("coturn relays", func() error {
		if relay, client, err = ts.allocate(t, user, password); err != nil {
			return err
		}
		return nil
	})
	sent, got := []byte("a picture"), make([]byte, 1500)
	s.until("a packet comes back", func() error { // it is UDP: one may be lost
		if _, err := relay.WriteTo(sent, echo.LocalAddr()); err != nil {
			return err
		}
		relay.SetReadDeadline(time.Now().Add(time.Second))
		n, from, err := relay.ReadFrom(got)
		if err != nil {
			return err
		}
		if !bytes.Equal(got[:n], sent) || from.String() != echo.LocalAddr().String() {
			return fmt.Errorf("%q from %s", got[:n], from)
		}
		return nil
	})
	for _, peer := range []string{"127.0.0.2", "10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"} {
		if err := client.CreatePermission(&net.UDPAddr{IP: net.ParseIP(peer), Port: 80}); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a relay to %s: %v, want 403", peer, err)
		}
	}
	// Seats have public addresses.
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(3, 120, 0, 1), Port: 20000}); err != nil {
		t.Errorf("a relay to a public address: %v", err)
	}

	oldUser, oldPassword, err := turn.GenerateLongTermTURNRESTCredentials(ts.previous, "earlier", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	lateUser, latePassword, err := turn.GenerateLongTermTURNRESTCredentials(ts.secret, "late", -time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, user, password string
		ok                   bool
	}{
		{"made of the secret before", oldUser, oldPassword, true},
		{"with another's password", user, oldPassword, false},
		{"for longer than the password is for", "9" + user, password, false},
		{"that has run out", lateUser, latePassword, false},
	} {
		if _, _, err := ts.allocate(t, c.user, c.password); (err == nil) != c.ok {
			t.Errorf("a relay for a name and password %s: %v", c.what, err)
		}
	}
}

// allocate takes a relay for as long as the test runs.
func (ts turnServer) allocate(t *testing.T, user, password string) (net.PacketConn, *turn.Client, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: local(ts.port), Conn: conn, Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { relay.Close() })
	return relay, client, nil
}
