package provision_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
)

// netSpace is a network namespace of a test.
type netSpace struct {
	t  *testing.T
	ns *os.File
}

func newNetSpace(t *testing.T) *netSpace {
	t.Helper()
	s := &netSpace{t: t}
	home, err := os.Open("/proc/thread-self/ns/net")
	testkit.Must(t, err)
	defer home.Close()
	testkit.Must(t, inSpace(home, func() error { // which brings the thread back
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	}))
	t.Cleanup(func() { s.ns.Close() })
	s.sh("ip link set lo up")
	return s
}

// inSpace runs f with its thread in a network namespace.
func inSpace(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread stays locked
	}
	runtime.UnlockOSThread()
	return err
}

// sh runs commands inside.
func (s *netSpace) sh(script string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "sh", "-euc", script)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := inSpace(s.ns, cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		s.t.Fatalf("%s: %v: %s", script, err, out.String())
	}
	return out.String()
}

// serve answers what is sent to an address, by TCP and UDP.
func (s *netSpace) serve(address string) {
	s.t.Helper()
	var l net.Listener
	var p net.PacketConn
	err := inSpace(s.ns, func() (err error) {
		if l, err = net.Listen("tcp", address); err == nil {
			p, err = net.ListenPacket("udp", address)
		}
		return err
	})
	testkit.Must(s.t, err)
	s.t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				io.Copy(c, c)
			}()
		}
	}()
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			p.WriteTo(b[:n], from)
		}
	}()
}

// dial opens a socket as a Unix user. nft looks at the file system uid of the thread that
// opened it, which setuid changes too.
func (s *netSpace) dial(uid int, transport, address string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	d.SetMultipathTCP(transport == "mptcp")
	network := strings.TrimPrefix(transport, "mp")
	err = inSpace(s.ns, func() error {
		if err := unix.Setfsuid(uid); err != nil {
			return err
		}
		defer unix.Setfsuid(0)
		c, err = d.Dial(network, address)
		return err
	})
	return c, err
}

// reaches reports whether an address answers a user. A refusal must come at once.
func (s *netSpace) reaches(uid int, transport, address string) (bool, error) {
	start := time.Now()
	c, err := s.dial(uid, transport, address)
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err = c.Write([]byte("hello")); err == nil {
			_, err = io.ReadFull(c, make([]byte, 5))
		}
	}
	if took := time.Since(start); err != nil && took > 900*time.Millisecond {
		return false, fmt.Errorf("it fails only after %s: %w", took, err)
	}
	return err == nil, nil
}

// Addresses of the test: other nodes and services of the site are behind a veth pair.
const (
	own, own6     = "10.77.0.2", "[fd77::2]"
	site, site6   = "10.77.0.1", "[fd77::1]"
	cloud, cloud6 = "169.254.169.254", "[fd00:ec2::254]"
	azure         = "168.63.129.16"
)

// firewalledNode is a namespace for a stream node, with others behind it. It returns the
// file of the rules that provision renders.
func firewalledNode(t *testing.T) (node *netSpace, rules string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	for _, name := range []string{"nft", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
	node = newNetSpace(t)
	others := newNetSpace(t)
	node.sh(fmt.Sprintf(`
ip link add site type veth peer name node netns /proc/%d/fd/%d
ip link set site up
ip addr add 10.77.0.2/24 dev site
ip addr add fd77::2/64 dev site nodad`, os.Getpid(), others.ns.Fd()))
	others.sh(`
ip link set node up
for a in 10.77.0.1/24 169.254.169.254/32 168.63.129.16/32; do ip addr add $a dev node; done
for a in fd77::1/64 fd00:ec2::254/128; do ip addr add $a dev node nodad; done`)
	node.sh(`
ip route add default via 10.77.0.1
ip -6 route add default via fd77::1`)
	for _, p := range []string{"8500", "8501", "8300", "8301", "8600", "4646", "4647", "4648", "53", "443"} {
		for _, a := range []string{site, site6} {
			others.serve(a + ":" + p)
		}
	}
	for _, p := range []string{"80", "53"} {
		for _, a := range []string{cloud, cloud6, azure} {
			others.serve(a + ":" + p)
		}
	}
	for _, p := range []string{"8500", "4646", "53", "9100"} {
		for _, a := range []string{"127.0.0.1", "[::1]", own, own6} {
			node.serve(a + ":" + p)
		}
	}
	files, err := provision.Render(valid(provision.Stream), provision.Secrets{TicketKeys: "/keys.pem"})
	testkit.Must(t, err)
	i := slices.IndexFunc(files, func(f provision.File) bool { return f.Path == "/etc/nearcast/firewall.nft" })
	if i < 0 {
		t.Fatal("a stream node has no firewall")
	}
	rules = filepath.Join(t.TempDir(), "firewall.nft")
	testkit.Must(t, os.WriteFile(rules, files[i].Text, 0o600))
	return node, rules
}

// reach says who may reach what. The transports are udp, tcp, and tcp again as MPTCP.
type reach struct {
	address                string
	apps, streamHosts, udp bool // udp: of stream hosts; of apps it is as apps
}

var reaches = []reach{
	{site + ":443", true, true, true}, {site6 + ":443", true, true, true},
	{site + ":53", true, true, true}, {cloud + ":53", true, true, true}, {azure + ":53", true, true, true}, {"127.0.0.1:53", true, true, true}, {own6 + ":53", true, true, true},

	{cloud + ":80", false, false, false}, {cloud6 + ":80", false, false, false}, {azure + ":80", false, false, false},

	{site + ":8500", false, false, true}, {site6 + ":8500", false, false, true}, {site + ":8501", false, false, true},
	{site + ":8300", false, false, true}, {site + ":8301", false, false, true}, {site + ":8600", false, false, true},
	{site + ":4646", false, false, true}, {site6 + ":4647", false, false, true}, {site + ":4648", false, false, true},

	{"127.0.0.1:8500", false, true, true}, {"[::1]:8500", false, false, true}, {own + ":8500", false, false, true},
	{"127.0.0.1:4646", false, false, true}, {own6 + ":4646", false, false, true},
	{"127.0.0.1:9100", false, false, true}, {"[::1]:9100", false, false, true}, {own + ":9100", false, false, true}, {own6 + ":9100", false, false, true},
}

// check compares who reaches what with what want says.
func check(t *testing.T, node *netSpace, want func(uid int, transport string, r reach) bool) {
	t.Helper()
	apps, streamHosts := valid(provision.Stream).WithDefaults().Stream.Users.Split()
	var all sync.WaitGroup
	slots := make(chan bool, 16)
	for _, uid := range []int{0, 1000, apps.Min - 1, apps.Min, apps.Max, streamHosts.Min, streamHosts.Max, streamHosts.Max + 1} {
		for _, transport := range []string{"tcp", "mptcp", "udp"} {
			for _, r := range reaches {
				all.Go(func() {
					slots <- true
					defer func() { <-slots }()
					have, err := node.reaches(uid, transport, r.address)
					if want := want(uid, transport, r); have != want || err != nil {
						t.Errorf("uid %d, %s to %s: reached %t, want %t, %v", uid, transport, r.address, have, want, err)
					}
				})
			}
		}
	}
	all.Wait()
}

func TestFirewall(t *testing.T) {
	node, rules := firewalledNode(t)
	apps, streamHosts := valid(provision.Stream).WithDefaults().Stream.Users.Split()
	everything := func(int, string, reach) bool { return true }
	t.Run("without", func(t *testing.T) { check(t, node, everything) })

	// Tables of others stay as they are.
	node.sh("nft add table ip filter; nft add chain ip filter DOCKER-USER; nft add rule ip filter DOCKER-USER counter accept")
	others := node.sh("nft list table ip filter")
	for range 2 { // the second time replaces it
		node.sh("nft -f " + rules)
	}
	if text := node.sh("nft list ruleset"); strings.Count(text, "table inet nearcast") != 1 || strings.Count(text, "hook output") != 1 {
		t.Errorf("after loading it twice:\n%s", text)
	}
	if now := node.sh("nft list table ip filter"); now != others {
		t.Errorf("another table was\n%s and is\n%s", others, now)
	}
	t.Run("with", func(t *testing.T) {
		check(t, node, func(uid int, transport string, r reach) bool {
			switch {
			case apps.Contains(uid):
				return r.apps
			case streamHosts.Contains(uid):
				return transport == "udp" && r.udp || transport != "udp" && r.streamHosts
			}
			return true
		})
	})

	// Others may flush all tables; the unit's timer loads it again.
	node.sh("nft flush ruleset")
	if ok, err := node.reaches(apps.Min, "tcp", cloud+":80"); !ok || err != nil {
		t.Errorf("after a flush: reached %t, %v", ok, err)
	}
	node.sh("nft -f " + rules)
	if ok, _ := node.reaches(apps.Min, "tcp", cloud+":80"); ok {
		t.Error("it was loaded again, and the metadata address is reached")
	}
}

// What others opened passes, whatever port is theirs; and a socket keeps the user that
// opened it, so an app must never get one of root.
func TestFirewallLooksAtWhoOpened(t *testing.T) {
	node, rules := firewalledNode(t)
	apps, _ := valid(provision.Stream).WithDefaults().Stream.Users.Split()
	opened, err := node.dial(0, "tcp", cloud+":80")
	testkit.Must(t, err)
	defer opened.Close()
	node.sh("nft -f " + rules)
	opened.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := opened.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(opened, make([]byte, 5)); err != nil {
		t.Errorf("an open connection of root: %v", err)
	}

	// An app that listens, and a client that has the port of Consul.
	var l net.Listener
	testkit.Must(t, inSpace(node.ns, func() (err error) {
		if err := unix.Setfsuid(apps.Min); err != nil {
			return err
		}
		defer unix.Setfsuid(0)
		l, err = net.Listen("tcp", own+":7000")
		return err
	}))
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP("10.77.0.3"), Port: 8300}}
	client := newNetSpace(t)
	node.sh(fmt.Sprintf("ip link add more type veth peer name node netns /proc/%d/fd/%d; ip link set more up; ip route add 10.77.0.3/32 dev more", os.Getpid(), client.ns.Fd()))
	client.sh("ip link set node up; ip addr add 10.77.0.3/24 dev node")
	var c net.Conn
	testkit.Must(t, inSpace(client.ns, func() (err error) {
		c, err = d.Dial("tcp", own+":7000")
		return err
	}))
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write([]byte("hello"))
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Errorf("a client with the port of Consul: %v", err)
	}
}
