package internet

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
)

// keeperArg makes the test's executable a parent process, as seat-keeper is one.
const keeperArg = "keeper"

// keeperConfig is the argument after keeperArg.
type keeperConfig struct {
	Deny           []netip.Prefix
	Resolvers      []netip.Addr
	Open, NoRoutes bool
}

// The uid of the helper in tests: of an app, by the driver's default range.
const testUID = 2_000_009_871

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case HelperArg:
			HelperMain()
		case keeperArg:
			os.Exit(keeper(os.Args[2]))
		}
	}
	goleak.VerifyTestMain(m)
}

// keeper connects the namespace on descriptor 3, says so, and waits for the end of its
// input. It prints why the network ended, if it ended before.
func keeper(arg string) int {
	var c keeperConfig
	if err := json.Unmarshal([]byte(arg), &c); err != nil {
		fmt.Println(err)
		return 1
	}
	cell := os.NewFile(3, "cell")
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	start := time.Now()
	n, err := Start(context.Background(), Config{
		Netns: cell, UID: testUID, GID: testUID, Deny: c.Deny, Resolvers: c.Resolvers, Log: log, open: c.Open, noRoutes: c.NoRoutes,
	})
	cell.Close()
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	fmt.Println("connected", n.PID(), time.Since(start).Microseconds(), strings.TrimSpace(ResolvConf()))
	ended := make(chan bool)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ended:
		n.Close()
	case <-n.Done():
	}
	fmt.Println("ended", n.Err())
	return 0
}

// space is a network namespace of a test.
type space struct{ ns *os.File }

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	s := &space{}
	home, err := os.Open("/proc/thread-self/ns/net")
	testkit.Must(t, err)
	defer home.Close()
	testkit.Must(t, within(home, func() error { // which brings the thread back
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	}))
	t.Cleanup(func() { s.ns.Close() })
	h := s.links(t)
	defer h.Close()
	lo, err := h.LinkByName("lo")
	testkit.Must(t, err)
	testkit.Must(t, h.LinkSetUp(lo))
	return s
}

// links is closed by its caller, because an open one keeps the namespace.
func (s *space) links(t testing.TB) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(s.ns.Fd()), unix.NETLINK_ROUTE)
	testkit.Must(t, err)
	return h
}

// do runs f inside. Goroutines that f starts are outside.
func (s *space) do(f func() error) error { return within(s.ns, f) }

// give gives loopback of a space one more address.
func (s *space) give(t testing.TB, addresses ...string) {
	t.Helper()
	h := s.links(t)
	defer h.Close()
	lo, err := h.LinkByName("lo")
	testkit.Must(t, err)
	for _, a := range addresses {
		testkit.Must(t, h.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(a))}))
	}
}

// join joins two spaces by a veth pair with one address on each side.
func join(t testing.TB, name string, a *space, addressA string, b *space, addressB string) {
	t.Helper()
	h := a.links(t)
	defer h.Close()
	testkit.Must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(int(b.ns.Fd()))}))
	for _, side := range []struct {
		*space
		address string
	}{{a, addressA}, {b, addressB}} {
		h := side.links(t)
		defer h.Close()
		link, err := h.LinkByName(name)
		testkit.Must(t, err)
		testkit.Must(t, h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(side.address))}))
		testkit.Must(t, h.LinkSetUp(link))
	}
}

// route sends to a prefix by a gateway.
func (s *space) route(t testing.TB, to, by string) {
	t.Helper()
	h := s.links(t)
	defer h.Close()
	testkit.Must(t, h.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(to)), Gw: net.ParseIP(by)}))
}

// listen answers connections and datagrams of a space with what they sent. The address is
// not that of all interfaces, because Linux would answer datagrams from another one.
func (s *space) listen(t testing.TB, address string) {
	t.Helper()
	var l net.Listener
	var p net.PacketConn
	testkit.Must(t, s.do(func() (err error) {
		if l, err = net.Listen("tcp4", address); err == nil {
			p, err = net.ListenPacket("udp4", address)
		}
		return err
	}))
	t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(time.Minute))
				io.Copy(c, c)
			}()
		}
	}()
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			p.WriteTo(b[:n], from)
		}
	}()
}

// dialing is how a probe opens its socket.
type dialing struct {
	network string // tcp4 or udp4
	device  string // SO_BINDTODEVICE
}

// probe sends to an address from inside and wants the same back. Refused is an error at
// once, silence one after the time.
func (s *space) probe(how dialing, address string, patience time.Duration) error {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) (err error) {
		if how.device != "" {
			c.Control(func(fd uintptr) {
				err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, how.device)
			})
		}
		return err
	}}
	var conn net.Conn
	err := s.do(func() (err error) {
		conn, err = d.Dial(how.network, address)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil {
		return err
	}
	if string(b) != "hello" {
		return fmt.Errorf("the answer is %q", b)
	}
	return nil
}

// running is a keeper that connected a cell.
type running struct {
	cmd    *exec.Cmd
	input  io.Closer
	lines  chan string
	helper int
	took   int64 // µs
	conf   string
	exited chan struct{}
}

// connectCell starts a keeper in the node's space.
func connectCell(t testing.TB, node, cell *space, c keeperConfig) *running {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
	arg, err := json.Marshal(c)
	testkit.Must(t, err)
	log, err := os.Create(filepath.Join(t.TempDir(), "keeper.log"))
	testkit.Must(t, err)
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", keeperArg, string(arg))
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{cell.ns}
	input, err := cmd.StdinPipe()
	testkit.Must(t, err)
	output, err := cmd.StdoutPipe()
	testkit.Must(t, err)
	testkit.Must(t, node.do(cmd.Start))
	r := &running{cmd: cmd, input: input, lines: make(chan string, 10), exited: make(chan struct{})}
	go func() {
		defer close(r.exited)
		for s := bufio.NewScanner(output); s.Scan(); {
			r.lines <- s.Text()
		}
		close(r.lines)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		input.Close()
		select {
		case <-r.exited:
		case <-time.After(10 * time.Second):
			t.Error("the keeper does not end")
			cmd.Process.Kill()
			<-r.exited
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the keeper's log:\n%s", text)
		}
	})
	line := <-r.lines
	if _, err := fmt.Sscanf(line, "connected %d %d", &r.helper, &r.took); err != nil {
		t.Fatalf("the keeper says %q", line)
	}
	_, r.conf, _ = strings.Cut(line, "nameserver")
	return r
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
	return !strings.HasPrefix(rest, " Z")
}
