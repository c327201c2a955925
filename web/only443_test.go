package web_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/turn"
)

// relayAddress is that of TURN, beside the site's: as on AWS, where each has a load balancer.
const relayAddress = "198.18.9.2"

// relayArg makes this program a TURN server, with a certificate in a file. Its relays
// are in the network namespace in which it was started.
const relayArg = "turn"

// relayMain serves TLS at port 443 and UDP at 3478 until it is killed.
func relayMain(certificate string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	server, err := turn.New(turn.Config{Realm: "test", Secrets: []ticket.TURNSecret{turnSecret}, RelayIP: netip.MustParseAddr(relayAddress),
		PortMin: 21000, PortMax: 21063, PerName: 16, Relays: 64, Rate: 5 << 20, MaxAge: time.Hour,
		Conns: guard.Limits{Unproven: 100, Proven: 100, Calm: 10 * time.Second, Busy: 2 * time.Second}, Log: log})
	if err != nil {
		return err
	}
	server.Nodes([]wire.Node{{Name: "seat-1", Media: []string{siteAddress + ":1024-65535"}}})
	l := turn.Listeners{}
	if l.Certificate, err = turn.LoadCertificate(certificate, certificate, log); err != nil {
		return err
	}
	if l.TLS, err = net.Listen("tcp4", relayAddress+":443"); err != nil {
		return err
	}
	if l.UDP, err = net.ListenPacket("udp4", relayAddress+":3478"); err != nil {
		return err
	}
	fmt.Println("ready")
	return server.Serve(context.Background(), l)
}

// startRelay starts it, and returns how a browser is told to trust its key.
func startRelay(t *testing.T, at *space) (trust string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(relayAddress)}}
	made, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	testkit.Must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.Must(t, err)
	file := filepath.Join(t.TempDir(), "tls.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	testkit.Must(t, os.WriteFile(file, text, 0o600))
	self, err := os.Executable()
	testkit.Must(t, err)
	r, w, err := os.Pipe()
	testkit.Must(t, err)
	defer r.Close()
	cmd := exec.Command("nsenter", "--net="+at.path(), "--", self, relayArg, file)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if !testing.Verbose() {
		cmd.Stderr = nil
	}
	testkit.Start(t, cmd)
	w.Close()
	r.SetReadDeadline(time.Now().Add(time.Minute))
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the TURN server says %q, %v", line, err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	testkit.Must(t, err)
	sum := sha256.Sum256(public)
	return "ignore-certificate-errors-spki-list=" + base64.StdEncoding.EncodeToString(sum[:])
}

// Of a person's network nothing gets out but TCP to port 443. Page, WebSocket and, by TLS,
// TURN are there.
func TestOnlyPort443(t *testing.T) {
	n := newNetwork(t)
	n.site.sh(t, "ip address add "+relayAddress+"/32 dev lo")
	n.plugIn("wire0", "198.18.1.10")
	n.person.sh(t, "ip rule add pref 1 ipproto tcp dport 443 lookup main; ip rule add pref 2 iif lo blackhole")
	s := newSiteAt(t, encode(t), home{space: n.site, address: siteAddress, port: "443"})
	trust := startRelay(t, n.site)
	ctx, page := n.open(t, s.server.URL+"/play/viewer", trust)
	testkit.Must(t, page.Until(ctx, "document.querySelector('.play-button')"))
	testkit.Must(t, page.Click(ctx, ".play-button"))
	playRelayed(t, s, "turns:"+relayAddress+":443?transport=tcp")
	if err := page.Until(ctx, "nearcast.state === 'streaming' && document.querySelector('video').currentTime > 1"); err != nil {
		t.Fatal(err)
	}
	var ms float64
	testkit.Must(t, page.Eval(ctx, "nearcast.firstFrameMS", &ms))
	t.Logf("from Play to the first frame, over TURN by TLS at 443: %.0f ms", ms)
}
