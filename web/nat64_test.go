package web_test

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// throughNAT64 is the address at which a network with NAT64 shows an IPv4 address.
func throughNAT64(address string) string {
	four := netip.MustParseAddr(address).As4()
	text := hex.EncodeToString(four[:])
	return "[2001:db8:64::" + text[:4] + ":" + text[4:] + "]"
}

// plugInIPv6 gives the person IPv6 alone, and their network NAT64, by which they reach the
// site's IPv4.
func (n *network) plugInIPv6() {
	n.t.Helper()
	tayga, err := exec.LookPath("tayga")
	if err != nil {
		n.t.Skip("tayga is not installed: it is the NAT64")
	}
	dir := n.t.TempDir()
	file := filepath.Join(dir, "tayga.conf")
	testkit.Must(n.t, os.WriteFile(file, []byte(`tun-device nat64
ipv4-addr 192.168.255.1
prefix 2001:db8:64::/96
dynamic-pool 192.168.255.0/24
data-dir `+dir+"\n"), 0o644))
	n.site.sh(n.t, "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; "+
		tayga+" --mktun --config "+file+`; ip link set nat64 up
ip address add 2001:db8:1::1/64 dev wire1 nodad
ip route add 192.168.255.0/24 dev nat64
ip route add 2001:db8:64::/96 dev nat64`)
	n.person.sh(n.t, `echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6
ip address add 2001:db8:1::10/64 dev wire0 nodad
ip link set wire0 up
ip -6 route add default dev wire0`)
	cmd := exec.Command("nsenter", "--net="+n.site.path(), "--", tayga, "--nodetach", "--config", file)
	testkit.Start(n.t, cmd)
}

// A person whose network has IPv6 alone reaches the site by NAT64. Their browser has no
// IPv4 address, and so no path to the seat's, but by TURN, whose servers have names: the
// network's DNS gives these names addresses of its NAT64. Here a flag tells the browser,
// but for TURN by UDP: Chromium found no path there by a name of the flag.
func TestIPv6OnlyWithNAT64(t *testing.T) {
	for name, at := range map[string]string{"UDP": "turn:" + throughNAT64(relayAddress) + ":3478", "TLS": "turns:turn.test:443?transport=tcp"} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			n.site.sh(t, "ip address add "+relayAddress+"/32 dev lo")
			n.plugInIPv6()
			s := newSiteAt(t, encode(t), home{space: n.site, address: siteAddress})
			u, err := url.Parse(s.server.URL)
			testkit.Must(t, err)
			s.server.URL = "http://site.test:" + u.Port() // as the router tells it
			trust := startRelay(t, n.site)
			ctx, page := n.open(t, s.server.URL+"/play/viewer", trust, "unsafely-treat-insecure-origin-as-secure="+s.server.URL,
				fmt.Sprintf("host-resolver-rules=MAP site.test %s, MAP turn.test %s", throughNAT64(siteAddress), throughNAT64(relayAddress)))
			testkit.Must(t, page.Until(ctx, "document.querySelector('.play-button')"))
			testkit.Must(t, page.Click(ctx, ".play-button"))
			playRelayed(t, s, at)
			if err := page.Until(ctx, "nearcast.state === 'streaming' && document.querySelector('video').currentTime > 1"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// playRelayed grants the next page a seat that it reaches by this TURN server alone.
func playRelayed(t *testing.T, s *site, at string) {
	t.Helper()
	b := s.nextBrain()
	name, password := turnSecret.Credentials(time.Now().Add(time.Minute))
	grant := s.grant(false)
	grant.ICEServers = []wire.ICEServer{{URLs: []string{at}, Username: name, Credential: password}}
	b.say(wire.Message{Type: wire.MsgGranted, Grant: grant})
	s.answer(b, b.hello.SDP)
	again := b.hear(wire.MsgOffer) // without a path for a second
	s.answer(b, again.SDP)
}
