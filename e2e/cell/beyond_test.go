package cell

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"github.com/nearcast/nearcast/dev/planet/netns"
	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/testkit"
)

// beyond makes what lies beyond the node: a computer of the site, the cloud's metadata, at
// a link-local address, and a server of the internet. All are in a network namespace, to
// which the node has routes.
func (n *node) beyond() {
	n.t.Helper()
	if netns.Supported() != nil {
		n.pretend()
		return
	}
	space, err := netns.Create(filepath.Join(n.t.TempDir(), "beyond"))
	testkit.Must(n.t, err)
	n.t.Cleanup(func() {
		_ = space.Close()
		if err := netns.Remove(space.Path()); err != nil {
			n.t.Error(err)
		}
	})
	// 10.213.x.y/30: the node has .1, the other computer .2.
	third, fourth := rand.IntN(256), 4*rand.IntN(64)
	here := netip.MustParsePrefix(fmt.Sprintf("10.213.%d.%d/30", third, fourth+1))
	there := netip.MustParsePrefix(fmt.Sprintf("10.213.%d.%d/30", third, fourth+2))
	// Beside the clouds' own 169.254.169.254, which this machine may need.
	cloud := netip.MustParsePrefix(fmt.Sprintf("169.254.%d.%d/32", 1+third%150, fourth+2))
	// For documents (RFC 5737): it is nobody's, but no address of the inside.
	world := netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/32", 1+rand.IntN(254)))
	name := fmt.Sprintf("ncb%d", rand.IntN(100_000))
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	testkit.Must(n.t, netlink.LinkAdd(veth))
	n.t.Cleanup(func() { _ = netlink.LinkDel(veth) }) // before the namespace: it ends with either
	peer, err := netlink.LinkByName(name + "p")
	testkit.Must(n.t, err)
	file, err := os.Open(space.Path())
	testkit.Must(n.t, err)
	defer file.Close()
	testkit.Must(n.t, netlink.LinkSetNsFd(peer, int(file.Fd())))
	testkit.Must(n.t, netns.Configure(netns.Interface{Name: name, Address: here, MTU: 1500, Queue: 100}))
	testkit.Must(n.t, space.Do(func() error {
		err := netns.Configure(netns.Interface{Name: name + "p", Address: there, MTU: 1500, Queue: 100})
		if err != nil {
			return err
		}
		moved, err := netlink.LinkByName(name + "p")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(moved, &netlink.Addr{IPNet: ipNet(cloud)}), netlink.AddrAdd(moved, &netlink.Addr{IPNet: ipNet(world)}))
	}))
	for _, to := range []netip.Prefix{cloud, world} {
		testkit.Must(n.t, netlink.RouteAdd(&netlink.Route{LinkIndex: veth.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: ipNet(to)}))
	}

	tells, err := space.Listen(n.t.Context(), "tcp", there.Addr().String()+":80")
	testkit.Must(n.t, err)
	metadata, err := space.Listen(n.t.Context(), "tcp", cloud.Addr().String()+":80")
	testkit.Must(n.t, err)
	n.serveBeyond(tells, metadata)
	far, err := space.Listen(n.t.Context(), "tcp", world.Addr().String()+":80")
	testkit.Must(n.t, err)
	n.t.Cleanup(func() { _ = far.Close() })
	n.world = far.Addr().String()
	go attack.Tell(far, "the internet")
}

// pretend makes the same of the node's own loopback, for a user who may make no network
// namespace.
func (n *node) pretend() {
	n.t.Helper()
	var listeners [2]net.Listener
	for i := range listeners {
		l, err := net.Listen("tcp", testkit.Address(n.t))
		testkit.Must(n.t, err)
		listeners[i] = l
	}
	n.serveBeyond(listeners[0], listeners[1])
}

func (n *node) serveBeyond(tells, metadata net.Listener) {
	n.t.Cleanup(func() { _ = tells.Close() })
	go attack.Tell(tells, n.canary)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, n.canary) })}
	n.t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(metadata) }()

	n.targets.Outside = []string{tells.Addr().String()}
	n.targets.Metadata = []string{"http://" + metadata.Addr().String() + "/latest/meta-data/iam/security-credentials/"}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
