package internet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/nearcast/nearcast/internal/testkit"
)

// site is a node with a network of the inside, and the outside behind its default route.
type site struct{ node, outside, inside, cell *space }

const port = ":4711"

// Addresses in a site.
const (
	public      = "203.0.113.1"     // of the outside
	far         = "192.31.196.9"    // of the outside, behind a router
	deniedByOp  = "203.0.113.70"    // of the outside, in a prefix that the operator denies
	nodePublic  = "203.0.113.2"     // of the node
	nodePrivate = "10.9.0.2"        // of the node
	nodeSecond  = "192.31.196.1"    // of the node, public, on its loopback
	neighbour   = "10.9.0.1"        // of another node
	metadata    = "169.254.169.254" // behind the inside's router here
	carrier     = "100.64.7.7"      // the same
	azure       = "168.63.129.16"   // the same
	named       = "10.9.0.53"       // a resolver of the inside
)

var denied = netip.MustParsePrefix("203.0.113.64/26")

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{node: newSpace(t), outside: newSpace(t), inside: newSpace(t), cell: newSpace(t)}
	join(t, "wan", s.node, nodePublic+"/24", s.outside, public+"/24")
	join(t, "lan", s.node, nodePrivate+"/24", s.inside, neighbour+"/24")
	s.outside.give(t, far+"/32", deniedByOp+"/32")
	s.inside.give(t, metadata+"/32", carrier+"/32", azure+"/32", named+"/32")
	s.node.give(t, nodeSecond+"/32")
	s.node.route(t, "0.0.0.0/0", public)
	for _, a := range []string{metadata, carrier, azure, named} {
		s.node.route(t, a+"/32", neighbour)
	}
	for sp, addresses := range map[*space][]string{
		s.node:    {"127.0.0.1", nodePublic, nodePrivate, nodeSecond},
		s.outside: {public, far, deniedByOp},
		s.inside:  {neighbour, metadata, carrier, azure, named},
	} {
		for _, a := range addresses {
			sp.listen(t, a+port)
		}
	}
	return s
}

var refused = map[string]string{
	"the node's loopback by the gateway": gateway.String(),
	"the node's public address":          nodePublic,
	"the node's private address":         nodePrivate,
	"the node's second public address":   nodeSecond,
	"another node":                       neighbour,
	"the metadata address":               metadata,
	"a carrier's address":                carrier,
	"Azure's address":                    azure,
	"a resolver's other port":            resolver.String(),
	"the resolver itself":                named,
	"a prefix that the operator denies":  deniedByOp,
}

var outside = map[string]string{"its neighbour": public, "a far address": far}

var transports = []string{"tcp4", "udp4"}

func TestReachesTheOutsideOnly(t *testing.T) {
	s := newSite(t)
	connectCell(t, s.node, s.cell, keeperConfig{Deny: []netip.Prefix{denied}, Resolvers: []netip.Addr{netip.MustParseAddr(named)}})
	for _, transport := range transports {
		for what, a := range outside {
			if err := s.cell.probe(dialing{network: transport}, a+port, 20*time.Second); err != nil {
				t.Errorf("%s by %s: %v", what, transport, err)
			}
		}
		for what, a := range refused {
			if a == resolver.String() {
				continue // routed, for its port 53
			}
			start := time.Now()
			err := s.cell.probe(dialing{network: transport}, a+port, 20*time.Second)
			if !errors.Is(err, syscall.EHOSTUNREACH) || time.Since(start) > 5*time.Second {
				t.Errorf("%s by %s: %v, after %s; it must be refused at once", what, transport, err, time.Since(start))
			}
		}
	}
	// Its own loopback is not the node's.
	if err := s.cell.probe(dialing{network: "tcp4"}, "127.0.0.1"+port, time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the cell's loopback: %v", err)
	}
	if err := s.cell.probe(dialing{network: "tcp4"}, resolver.String()+port, 2*time.Second); err == nil {
		t.Error("another port of the resolver answers")
	}
}

// Without both layers each address of the inside is reached: nothing else refuses it.
func TestReachesTheInsideWithoutRefusal(t *testing.T) {
	s := newSite(t)
	connectCell(t, s.node, s.cell, keeperConfig{Open: true})
	for _, transport := range transports {
		for what, a := range refused {
			switch a {
			case gateway.String(), resolver.String():
				// slirp4netns itself refuses these, with --disable-host-loopback.
				continue
			}
			if err := s.cell.probe(dialing{network: transport}, a+port, 20*time.Second); err != nil {
				t.Errorf("%s by %s: %v", what, transport, err)
			}
		}
	}
}

// silent checks that no address of the inside answers sockets that are bound to a device.
func (s *site) silent(t *testing.T, devices ...string) {
	t.Helper()
	var all sync.WaitGroup
	for what, a := range refused {
		for _, device := range devices {
			for _, transport := range transports {
				all.Go(func() {
					if err := s.cell.probe(dialing{transport, device}, a+port, time.Second); err == nil {
						t.Errorf("%s by %s, bound to %q: it answers", what, transport, device)
					}
				})
			}
		}
	}
	all.Wait()
}

// The filter refuses without the routes, and also what passes routes by.
func TestFilterRefusesAlone(t *testing.T) {
	s := newSite(t)
	connectCell(t, s.node, s.cell, keeperConfig{NoRoutes: true, Deny: []netip.Prefix{denied}})
	if err := s.cell.probe(dialing{network: "tcp4"}, public+port, 20*time.Second); err != nil {
		t.Error(err)
	}
	s.silent(t, "", Interface)
}

// A socket that is bound to the interface passes routes by. The address must not answer
// all the same.
func TestBoundToTheInterface(t *testing.T) {
	s := newSite(t)
	connectCell(t, s.node, s.cell, keeperConfig{Deny: []netip.Prefix{denied}})
	s.silent(t, Interface)
	if err := s.cell.probe(dialing{"tcp4", Interface}, public+port, 20*time.Second); err != nil {
		t.Errorf("the outside: %v", err)
	}
}

// A resolver of the inside answers the cell, which cannot reach it otherwise.
func TestNames(t *testing.T) {
	s := newSite(t)
	answerNames(t, s.inside, named+":53", far)
	r := connectCell(t, s.node, s.cell, keeperConfig{Resolvers: []netip.Addr{netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr(named)}})
	nameserver := strings.TrimSpace(r.conf)
	for _, transport := range transports {
		names := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = s.cell.do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, transport, nameserver+":53")
				return err
			})
			return conn, err
		}}
		found, err := names.LookupHost(testkit.Context(t, time.Minute), "play.example.")
		if err != nil || len(found) != 1 || found[0] != far {
			t.Errorf("by %s: %v, %v", transport, found, err)
		}
	}
}

// answerNames answers each question for an IPv4 address with one.
func answerNames(t *testing.T, s *space, at, answer string) {
	t.Helper()
	reply := func(question []byte) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(question); err != nil {
			return nil
		}
		m.Response, m.Additionals = true, nil
		for _, q := range m.Questions {
			if q.Type == dnsmessage.TypeA {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(answer).As4()},
				})
			}
		}
		packed, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return packed
	}
	var l net.Listener
	var p net.PacketConn
	testkit.Must(t, s.do(func() (err error) {
		if l, err = net.Listen("tcp4", at); err == nil {
			p, err = net.ListenPacket("udp4", at)
		}
		return err
	}))
	t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			p.WriteTo(reply(b[:n]), from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(10 * time.Second))
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil || n < 3 {
					break
				}
				out := reply(b[2:n])
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
			c.Close()
		}
	}()
}

// The helper has no privilege, and none of the node's files.
func TestHelperHasNoPrivileges(t *testing.T) {
	s := newSite(t)
	r := connectCell(t, s.node, s.cell, keeperConfig{})
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.helper))
	testkit.Must(t, err)
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	id := fmt.Sprint(testUID)
	all := strings.Join([]string{id, id, id, id}, " ")
	// Only low ports, and only in network namespaces of its own user namespace.
	const lowPorts = "0000000000000400"
	for key, want := range map[string]string{
		"Uid": all, "Gid": all, "Groups": "", "NoNewPrivs": "1", "Seccomp": "2",
		"CapEff": lowPorts, "CapPrm": lowPorts, "CapBnd": lowPorts, "CapAmb": "0000000000000000",
	} {
		if status[key] != want {
			t.Errorf("%s is %q, not %q", key, status[key], want)
		}
	}
	for _, name := range []string{"user", "mnt", "pid", "ipc", "uts"} {
		if link(t, r.helper, name) == link(t, os.Getpid(), name) {
			t.Errorf("the helper is in the node's %s namespace", name)
		}
	}
	if link(t, r.helper, "net") != link(t, r.cmd.Process.Pid, "net") {
		t.Error("the helper's sockets are not in the node's network namespace")
	}
	root := fmt.Sprintf("/proc/%d/root", r.helper)
	if names := list(t, root); names != "etc run" {
		t.Errorf("its root has %s", names)
	}
	if names := list(t, root+"/etc") + list(t, root+"/run"); names != "resolv.conf" {
		t.Errorf("/etc and /run have %s", names)
	}
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	testkit.Must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func link(t *testing.T, pid int, name string) string {
	t.Helper()
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	testkit.Must(t, err)
	return target
}

// An app opens more connections than the helper has descriptors for. It gets no more; the
// helper lives, and serves again once the app has closed some.
func TestManyConnections(t *testing.T) {
	s := newSite(t)
	r := connectCell(t, s.node, s.cell, keeperConfig{})
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	var err error
	for len(open) < maxFiles && err == nil {
		err = s.cell.do(func() error {
			c, err := net.DialTimeout("tcp4", public+port, 2*time.Second)
			if err == nil {
				open = append(open, c)
			}
			return err
		})
	}
	if err == nil || len(open) < maxFiles/2 {
		t.Errorf("%d connections, then %v", len(open), err)
	}
	if !alive(r.helper) {
		t.Fatal("the helper has ended")
	}
	for _, c := range open {
		c.Close()
	}
	testkit.Retry(testkit.Context(t, time.Minute), t, "a connection after that", func() error {
		return s.cell.probe(dialing{network: "tcp4"}, public+port, 5*time.Second)
	})
}

// interfaces counts the interfaces of a space beside loopback.
func (s *space) interfaces(t *testing.T) int {
	t.Helper()
	h := s.links(t)
	defer h.Close()
	all, err := h.LinkList()
	testkit.Must(t, err)
	return len(all) - 1
}

func TestNothingStays(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *running){
		"the parent is killed": func(t *testing.T, r *running) { testkit.Must(t, r.cmd.Process.Kill()) },
		"the parent closes":    func(t *testing.T, r *running) { testkit.Must(t, r.input.Close()) },
		"the helper is killed": func(t *testing.T, r *running) { testkit.Must(t, syscall.Kill(r.helper, syscall.SIGKILL)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := connectCell(t, s.node, s.cell, keeperConfig{})
			before := s.node.interfaces(t)
			if s.cell.interfaces(t) != 1 {
				t.Fatalf("the cell has %d interfaces", s.cell.interfaces(t))
			}
			end(t, r)
			testkit.Until(t, "the helper is gone", func() bool { return !alive(r.helper) })
			testkit.Until(t, "the interface is gone", func() bool { return s.cell.interfaces(t) == 0 })
			<-r.exited
			if now := s.node.interfaces(t); now != before {
				t.Errorf("the node has %d interfaces, and had %d", now, before)
			}
		})
	}
}

// The helper ends with the cell's namespace.
func TestEndsWithTheNamespace(t *testing.T) {
	s := newSite(t)
	r := connectCell(t, s.node, s.cell, keeperConfig{})
	s.cell.ns.Close() // the last handle
	said := ""
	for line := range r.lines {
		said += line
	}
	if !strings.Contains(said, gone) {
		t.Errorf("the keeper says %q", said)
	}
	if alive(r.helper) {
		t.Error("the helper runs on")
	}
}

func TestRefusesToStart(t *testing.T) {
	if _, err := Start(t.Context(), Config{UID: 0, GID: 5}); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("as root: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest needs root")
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), Config{UID: 5, GID: 5}); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("without the program: %v", err)
	}
}

func TestInside(t *testing.T) {
	all, err := inside(prefixes("8.8.8.0/24", "8.8.8.8/32", "10.1.0.0/16", "fd00::/8"))
	testkit.Must(t, err)
	covers := func(a string) (n int) {
		for _, p := range all {
			if p.Contains(netip.MustParseAddr(a)) {
				n++
			}
		}
		return n
	}
	for _, a := range []string{"8.8.8.8", "10.1.2.3", "10.255.0.1", "172.31.9.9", "192.168.1.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "127.0.0.1", "0.0.0.0", "192.0.0.192", "224.0.0.251", "255.255.255.255", "198.19.255.255"} {
		if n := covers(a); n != 1 {
			t.Errorf("%s is in %d prefixes", a, n)
		}
	}
	for _, a := range []string{"8.8.9.1", "1.1.1.1", "172.32.0.1", "100.63.255.255", "100.128.0.0", "203.0.113.1"} {
		if n := covers(a); n != 0 {
			t.Errorf("%s is in %d prefixes", a, n)
		}
	}
	if _, err := inside([]netip.Prefix{{}}); err == nil {
		t.Error("a prefix that is not valid is taken")
	}
}

func TestResolvConf(t *testing.T) {
	if got := fmt.Sprint(nameservers([]byte("# comment\nsearch a b\nnameserver 127.0.0.53\nnameserver\nnameserver ::1\n"))); got != "[127.0.0.53 ::1]" {
		t.Errorf("read %s", got)
	}
	if _, err := resolvConf([]netip.Addr{netip.MustParseAddr("2001:db8::1")}); err == nil {
		t.Error("a resolver without IPv4 is taken")
	}
}
