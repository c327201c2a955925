package platform_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pion/turn/v5"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// turnServer is the one that turn.nomad.hcl runs.
type turnServer struct {
	port, tls        int
	relays           []int
	url              string // as browsers get it
	secret, previous ticket.TURNSecret
}

func newTURN(s *site) turnServer {
	ports := testkit.Ports(s.t, 50)
	return turnServer{port: ports[0], tls: ports[1], relays: ports[2:], url: "turn:" + local(ports[0]), secret: ticket.TURNSecret(uuid.NewString()), previous: ticket.TURNSecret(uuid.NewString())}
}

func (ts turnServer) start(s *site) {
	s.t.Helper()
	cert, key := certificate(s.t)
	s.nomad("var", "put", "nomad/jobs/turn", "secret="+string(ts.secret), "previous="+string(ts.previous), "tls_cert="+cert, "tls_key="+key)
	args := s.args("turn", "--allow-loopback")
	s.nomad(append(args[:len(args)-1], fmt.Sprintf("-var=port=%d", ts.port), fmt.Sprintf("-var=tls_port=%d", ts.tls),
		fmt.Sprintf("-var=relay_ports=%d-%d", ts.relays[0], ts.relays[len(ts.relays)-1]), "turn.nomad.hcl")...)
}

// certificate makes one, and its key, as PEM.
func certificate(t *testing.T) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour)}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	testkit.Must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	testkit.Must(t, err)
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE", made), text("PRIVATE KEY", secret)
}

// relaysTo sends a packet to a seat and back by way of the relay that a session's
// ICE servers name.
func (ts turnServer) relaysTo(s *site, t *testing.T, servers []wire.ICEServer) {
	if len(servers) != 1 || len(servers[0].URLs) != 1 || servers[0].URLs[0] != ts.url || servers[0].Username == "" {
		t.Fatalf("ICE servers: %+v", servers)
	}
	s.address("turn")
	secure, err := tls.Dial("tcp", local(ts.tls), &tls.Config{InsecureSkipVerify: true})
	testkit.Must(t, err)
	if got := secure.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != 7 {
		t.Errorf("TLS: the certificate %d", got)
	}
	secure.Close()

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
	s.until("TURN relays", func() error {
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
	for _, peer := range []string{"127.0.0.2", "10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "3.120.0.1"} {
		if err := client.CreatePermission(&net.UDPAddr{IP: net.ParseIP(peer), Port: 80}); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("a relay to %s: %v, want 403", peer, err)
		}
	}
	oldUser, oldPassword := ts.previous.Credentials(time.Now().Add(time.Hour))
	lateUser, latePassword := ts.secret.Credentials(time.Now().Add(-time.Hour))
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
