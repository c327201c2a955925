package web_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/nearcast/nearcast/dev/planet/netns"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/wire"
)

// A network has a site in one namespace and a person in another. Two cables join them, of
// which the person's end of one is up.
type network struct {
	t            *testing.T
	site, person *netns.NS
}

const (
	siteAddress = "198.18.9.1" // whatever cable
	wire0, air0 = "wire0", "air0"
)

func newNetwork(t *testing.T) *network {
	t.Helper()
	if err := netns.Supported(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	n := &network{t: t}
	for name, ns := range map[string]**netns.NS{"site": &n.site, "person": &n.person} {
		var err error
		*ns, err = netns.Create(filepath.Join(dir, name))
		testkit.Must(t, err)
		t.Cleanup(func() {
			(*ns).Close()
			testkit.Must(t, netns.Remove((*ns).Path()))
		})
	}
	far, err := os.Open(n.site.Path())
	testkit.Must(t, err)
	defer far.Close()
	for i, name := range []string{wire0, air0} {
		end := name[:len(name)-1] + "1"
		testkit.Must(t, n.person.Do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: end, PeerNamespace: netlink.NsFd(far.Fd())})
		}))
		testkit.Must(t, n.site.Do(func() error {
			return netns.Configure(netns.Interface{Name: end, Address: netip.MustParsePrefix(fmt.Sprintf("198.18.%d.1/24", i+1)), MTU: 1500, Queue: 1000})
		}))
	}
	testkit.Must(t, n.site.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(siteAddress), Mask: net.CIDRMask(32, 32)}})
	}))
	return n
}

// plugIn gives the person an address on a cable, and their way to all else.
func (n *network) plugIn(name, address string) {
	n.t.Helper()
	testkit.Must(n.t, n.person.Do(func() error {
		return netns.Configure(netns.Interface{Name: name, Address: netip.MustParsePrefix(address), MTU: 1500, Queue: 1000, DefaultRoute: true})
	}))
}

// pullOut takes a cable out. Its address is gone too.
func (n *network) pullOut(name string) {
	n.t.Helper()
	testkit.Must(n.t, n.person.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(link); err != nil {
			return err
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
		for _, a := range addresses {
			if err == nil {
				err = netlink.AddrDel(link, &a)
			}
		}
		return err
	}))
}

// A person's laptop leaves its cable and goes on by the wireless network, and back. All
// that there was is dead then, the socket to the brain too.
func TestAddressChanges(t *testing.T) {
	n := newNetwork(t)
	s := newSiteAt(t, encode(t), home{n.site, siteAddress})
	n.plugIn(wire0, "198.18.1.10/24")
	chromium, err := browser.LaunchIn(t.Context(), n.person.Path(), "unsafely-treat-insecure-origin-as-secure="+s.server.URL)
	if err == browser.ErrNotInstalled {
		t.Skip(err)
	}
	testkit.Must(t, err)
	t.Cleanup(chromium.Close)
	ctx := testkit.Context(t, 2*time.Minute)
	page, err := chromium.Open(ctx, s.server.URL+"/play/viewer")
	testkit.Must(t, err)
	until := func(expression string) {
		t.Helper()
		if err := page.Until(ctx, expression); err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
	}
	until("document.querySelector('.play-button')")
	testkit.Must(t, page.Click(ctx, ".play-button"))
	seat := s.serve(s.nextBrain(), false)
	until("nearcast.state === 'streaming' && nearcast.stats().then((s) => s.pingMS > 0 && s.fps > 5)")
	// The longest that the picture stood still.
	testkit.Must(t, page.Eval(ctx, `(() => {
		const video = document.querySelector('video');
		Object.assign(window, { longest: 0, changed: 0, last: performance.now() });
		window.phases = new Set();
		const shown = () => {
			const now = performance.now();
			longest = Math.max(longest, now - window.last);
			window.last = now;
			phases.add(nearcast.state);
			video.requestVideoFrameCallback(shown);
		};
		video.requestVideoFrameCallback(shown);
	})()`, nil))
	for i, move := range []struct{ from, to, address string }{
		{wire0, air0, "198.18.2.10/24"}, {air0, wire0, "198.18.1.11/24"},
	} {
		testkit.Must(t, page.Eval(ctx, "void (longest = 0, changed = performance.now())", nil))
		n.pullOut(move.from)
		n.plugIn(move.to, move.address)
		// ICE may find the way by itself. Where it does not, the page restarts it.
		restarted := false
		testkit.Until(t, "pictures come by the new address", func() bool {
			select {
			case b := <-s.brains:
				if b.hello.Resume != "resume" || b.hello.Restart != (b.hello.SDP != "") {
					t.Errorf("hello = %+v, want resume, and an offer only if ICE is restarted", b.hello)
				}
				b.say(wire.Message{Type: wire.MsgGranted, Grant: s.grant(true)})
				if b.hello.Restart {
					restarted = true
					seat.restart(t, b, b.hello.SDP)
				}
			default:
			}
			var back bool
			testkit.Must(t, page.Eval(ctx, "last > changed + 2000 && nearcast.stats().then((s) => s.fps > 5)", &back))
			return back
		})
		var longest float64
		testkit.Must(t, page.Eval(ctx, "longest", &longest))
		t.Logf("move %d: the picture stood still for %.0f ms; ICE restarted: %v", i, longest, restarted)
	}
	until("[...phases].every((phase) => phase === 'streaming')")
}
