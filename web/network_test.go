package web_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/firefox"
	"github.com/nearcast/nearcast/internal/wire"
)

// A space is a network namespace, which ends with the test.
type space struct{ file *os.File }

const ownSpace = "/proc/thread-self/ns/net"

func newSpace(t *testing.T) *space {
	t.Helper()
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		var file *os.File
		if err == nil {
			file, err = os.Open(ownSpace)
		}
		done <- made{file, err}
	}()
	m := <-done
	if m.err != nil {
		t.Skipf("this needs root, to make network namespaces: %v", m.err)
	}
	t.Cleanup(func() { m.file.Close() })
	s := &space{m.file}
	s.sh(t, "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || true; ip link set lo up")
	return s
}

// path is the namespace for other processes.
func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd()) }

// do runs f inside; nil is the test's own namespace.
func (s *space) do(f func() error) error {
	if s == nil {
		return f()
	}
	runtime.LockOSThread()
	home, err := os.Open(ownSpace)
	if err != nil {
		return err // the thread stays locked, and ends with the test
	}
	defer home.Close()
	if err = unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err == nil {
		err = f()
	}
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// sh runs commands inside.
func (s *space) sh(t *testing.T, script string) {
	t.Helper()
	testkit.Must(t, s.do(func() error {
		out, err := exec.Command("sh", "-euc", script).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", script, err, out)
		}
		return nil
	}))
}

// A network has a site in one namespace and a person in another. Two cables join them.
type network struct {
	t            *testing.T
	site, person *space
}

const siteAddress = "198.18.9.1" // by each cable

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t, newSpace(t), newSpace(t)}
	n.site.sh(t, "ip address add "+siteAddress+"/32 dev lo")
	// Without ARP, which needs one MAC address for both ends: where a person's address is
	// gone, packets to it are lost, as beyond any router. The kernel would hold them for
	// three seconds, and with them the socket of the seat.
	const mac = "address 02:00:00:00:00:01"
	for i, name := range []string{"wire", "air"} {
		n.person.sh(t, fmt.Sprintf("ip link add %s0 %s type veth peer name %s1 %s netns %s; ip link set %s0 arp off", name, mac, name, mac, n.site.path(), name))
		n.site.sh(t, fmt.Sprintf("ip address add 198.18.%d.1/24 dev %s1; ip link set %s1 arp off up", i+1, name, name))
	}
	return n
}

// plugIn gives the person an address on a cable, and their way to all else.
func (n *network) plugIn(name, address string) {
	n.t.Helper()
	n.person.sh(n.t, fmt.Sprintf("ip address add %s/24 dev %s; ip link set %s up; ip route add default dev %s", address, name, name, name))
}

// pullOut takes a cable out. Its address is gone too.
func (n *network) pullOut(name string) {
	n.t.Helper()
	n.person.sh(n.t, fmt.Sprintf("ip link set %s down; ip address flush dev %s", name, name))
}

// open opens an address in a browser in the person's network.
func (n *network) open(t *testing.T, address string, flags ...string) (context.Context, *browser.Page) {
	t.Helper()
	chromium, err := browser.LaunchIn(t.Context(), n.person.path(), flags...)
	if err == browser.ErrNotInstalled {
		t.Skip(err)
	}
	testkit.Must(t, err)
	t.Cleanup(chromium.Close)
	ctx := testkit.Context(t, 2*time.Minute)
	page, err := chromium.Open(ctx, address)
	testkit.Must(t, err)
	return ctx, page
}

// A person's laptop leaves its cable and goes on by the wireless network, and back. All
// that there was is dead then, the socket to the brain too.
func TestAddressChanges(t *testing.T) {
	n := newNetwork(t)
	s := newSiteAt(t, encode(t), home{space: n.site, address: siteAddress})
	n.plugIn("wire0", "198.18.1.10")
	ctx, page := n.open(t, s.server.URL+"/play/viewer", "unsafely-treat-insecure-origin-as-secure="+s.server.URL)
	n.move(t, ctx, s, page)
	testkit.Must(t, page.Until(ctx, "[...phases].every((phase) => phase === 'streaming')"))
}

// Firefox gives up DTLS when the address is gone, so its page makes a new connection.
func TestAddressChangesInFirefox(t *testing.T) {
	n := newNetwork(t)
	s := newSiteAt(t, encodeVP8(t), home{space: n.site, address: siteAddress})
	s.codec = "VP8"
	n.plugIn("wire0", "198.18.1.10")
	fox := firefox.StartIn(t, n.person.path(), map[string]any{"dom.securecontext.allowlist": siteAddress})
	ctx := testkit.Context(t, 2*time.Minute)
	page, err := fox.Open(ctx, s.server.URL+"/play/viewer")
	testkit.Must(t, err)
	n.move(t, ctx, s, page)
}

// A person's laptop leaves its cable for a network that lets nothing out but TCP to port 443: what
// is left is TURN by TLS, of which the connection knows since the grant. It stays the same one.
func TestAddressChangesIntoPort443(t *testing.T) {
	n := newNetwork(t)
	n.site.sh(t, "ip address add "+relayAddress+"/32 dev lo")
	n.plugIn("wire0", "198.18.1.10")
	s := newSiteAt(t, encode(t), home{space: n.site, address: siteAddress, port: "443"})
	trust := startRelay(t, n.site)
	ctx, page := n.open(t, s.server.URL+"/play/viewer", trust, "unsafely-treat-insecure-origin-as-secure="+s.server.URL)
	granted := func(b *brain, resumed bool) {
		name, password := turnSecret.Credentials(time.Now().Add(time.Minute))
		grant := s.grant(resumed)
		grant.ICEServers = []wire.ICEServer{{URLs: []string{"turns:" + relayAddress + ":443?transport=tcp"}, Username: name, Credential: password}}
		_ = b.try(wire.Message{Type: wire.MsgGranted, Grant: grant})
	}
	testkit.Must(t, page.Until(ctx, "document.querySelector('.play-button')"))
	testkit.Must(t, page.Click(ctx, ".play-button"))
	b := s.nextBrain()
	granted(b, false)
	seat := s.answer(b, b.hello.SDP)
	testkit.Must(t, page.Until(ctx, "nearcast.state === 'streaming' && nearcast.stats().then((s) => s.pingMS > 0 && s.fps > 5)"))
	testkit.Must(t, page.Eval(ctx, watchPicture, nil))

	testkit.Must(t, page.Eval(ctx, "void (longest = 0, changed = performance.now())", nil))
	n.pullOut("wire0")
	n.person.sh(t, "ip rule add pref 1 ipproto tcp dport 443 lookup main; ip rule add pref 2 iif lo blackhole")
	n.plugIn("air0", "198.18.2.10")
	testkit.Until(t, "pictures come by the relay", func() bool {
		select {
		case b := <-s.brains:
			granted(b, true)
			if b.hello.Restart {
				_ = b.try(seat.restart(t, b.hello.SDP))
			} else if b.hello.SDP != "" {
				seat = s.answer(b, b.hello.SDP)
			}
		default:
		}
		var back bool
		testkit.Must(t, page.Eval(ctx, "last > changed + 1000 && nearcast.stats().then((s) => s.fps > 5 && s.path === 'udp relay')", &back))
		return back
	})
	var longest float64
	testkit.Must(t, page.Eval(ctx, "longest", &longest))
	t.Logf("the picture stood still for %.0f ms", longest)
	testkit.Must(t, page.Until(ctx, "[...phases].every((phase) => phase === 'streaming')"))
}

// watchPicture measures the longest that the picture stood still, and notes the phases meanwhile.
const watchPicture = `(() => {
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
})()`

// move plays, and changes the person's network twice meanwhile.
func (n *network) move(t *testing.T, ctx context.Context, s *site, page browser.Driven) {
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
	testkit.Must(t, page.Eval(ctx, watchPicture, nil))
	for i, move := range []struct{ from, to, address string }{
		{"wire0", "air0", "198.18.2.10"}, {"air0", "wire0", "198.18.1.11"},
	} {
		testkit.Must(t, page.Eval(ctx, "void (longest = 0, changed = performance.now())", nil))
		n.pullOut(move.from)
		n.plugIn(move.to, move.address)
		// ICE may find the way by itself. Where it does not, the page restarts it.
		restarted, renewed := false, false
		testkit.Until(t, "pictures come by the new address", func() bool {
			select {
			case b := <-s.brains:
				if b.hello.Resume != "resume" || b.hello.Restart && b.hello.SDP == "" {
					t.Errorf("hello = %+v, want resume, with an offer if ICE is restarted", b.hello)
				}
				_ = b.try(wire.Message{Type: wire.MsgGranted, Grant: s.grant(true)})
				switch {
				case b.hello.Restart:
					restarted = true
					_ = b.try(seat.restart(t, b.hello.SDP))
				case b.hello.SDP != "":
					renewed = true
					seat = s.answer(b, b.hello.SDP)
				}
			default:
			}
			var back bool
			testkit.Must(t, page.Eval(ctx, "last > changed + 2000 && nearcast.stats().then((s) => s.fps > 5)", &back))
			return back
		})
		var longest float64
		testkit.Must(t, page.Eval(ctx, "longest", &longest))
		t.Logf("move %d: the picture stood still for %.0f ms; ICE restarted: %v; a new connection: %v", i, longest, restarted, renewed)
	}
}
