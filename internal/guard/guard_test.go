package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a server behind a guard. A request for /prove proves its connection
// and is answered when the test ends it.
type served struct {
	t       *testing.T
	g       *Guard
	address string
	end     chan struct{}

	mu   sync.Mutex
	cuts map[string]int
}

func serve(t *testing.T, limits Limits) *served {
	s := &served{t: t, end: make(chan struct{}), cuts: map[string]int{}}
	s.g = New(limits, func(why string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cuts[why]++
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/prove" {
			return
		}
		if err := Of(r.Context()).Prove(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-s.end
	})}
	s.g.Attach(server)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { s.g.Run(ctx) })
	all.Go(func() { server.Serve(s.g.Listener(l)) })
	t.Cleanup(func() {
		close(s.end)
		cancel()
		server.Close()
		all.Wait()
	})
	return s
}

// dial connects from an address of loopback, and says something.
func (s *served) dial(from, text string) net.Conn {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	io.WriteString(c, text)
	return c
}

// prove returns the status of a request that proves its connection.
func (s *served) prove(from string) string {
	s.t.Helper()
	c := s.dial(from, "GET /prove HTTP/1.1\r\nHost: x\r\n\r\n")
	line := make([]byte, 12)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, line); err != nil {
		return err.Error()
	}
	return string(line[9:])
}

func (s *served) counts(unproven, proven int) {
	s.t.Helper()
	testkit.UntilSeen(s.t, fmt.Sprintf("%d unproven and %d proven connections", unproven, proven), func() (any, bool) {
		u, p, _ := s.g.Counts()
		return [2]int{u, p}, u == unproven && p == proven
	})
}

func (s *served) cut(why string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cuts[why]
}

// closed waits until the other side has closed, and returns how long that took.
func closed(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	c.SetReadDeadline(begin.Add(20 * time.Second))
	var late net.Error
	if _, err := io.Copy(io.Discard, c); errors.As(err, &late) && late.Timeout() {
		t.Fatal("the connection stays open")
	}
	return time.Since(begin)
}

func TestTheOldestMakesRoom(t *testing.T) {
	s := serve(t, Limits{Unproven: 4, Proven: 2, Calm: time.Minute, Busy: time.Minute})
	if got := s.prove("127.0.0.1"); got != "200" {
		t.Fatal(got)
	}
	first := s.dial("127.0.1.1", "")
	s.counts(1, 1)
	for i := range 4 {
		s.dial(fmt.Sprintf("127.0.2.%d", i+1), "GET / HT")
	}
	closed(t, first)
	s.counts(4, 1)
	if s.cut(CutOldest) != 1 {
		t.Errorf("cut %v", s.cuts)
	}
	if got := s.prove("127.0.3.1"); got != "200" {
		t.Errorf("with all places taken by others a new client gets %s", got)
	}
	s.counts(3, 2)
	if got := s.prove("127.0.4.1"); got != "503" {
		t.Errorf("one more than Proven gets %s", got)
	}
	if s.cut(CutFull) != 1 {
		t.Errorf("cut %v", s.cuts)
	}
}

func TestTimeToProve(t *testing.T) {
	s := serve(t, Limits{Unproven: 4, Calm: 2 * time.Second, Busy: 300 * time.Millisecond})
	begin := time.Now()
	if closed(t, s.dial("127.0.0.1", "GET / HTTP/1.1\r\nX: ")); time.Since(begin) < 1500*time.Millisecond {
		t.Errorf("a calm server cut after %v", time.Since(begin))
	}
	begin = time.Now()
	a, b, c := s.dial("127.0.0.1", ""), s.dial("127.0.0.1", ""), s.dial("127.0.0.1", "")
	closed(t, a)
	if d := time.Since(begin); d > 1500*time.Millisecond {
		t.Errorf("a busy server cut after %v", d)
	}
	closed(t, b)
	closed(t, c)
	if s.cut(CutLate) < 3 {
		t.Errorf("cut %v", s.cuts)
	}
	// Answers give the time again.
	begin = time.Now()
	alive := s.dial("127.0.0.1", "")
	for range 8 {
		if _, err := io.WriteString(alive, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatalf("a client that asks each 400 ms was cut after %v: %v", time.Since(begin), err)
		}
		buffer := make([]byte, 1024)
		if _, err := alive.Read(buffer); err != nil {
			t.Fatalf("a client that asks each 400 ms was cut after %v: %v", time.Since(begin), err)
		}
		<-time.After(400 * time.Millisecond)
	}
}

func TestNetworks(t *testing.T) {
	s := serve(t, Limits{UnprovenNear: 2, UnprovenWide: 5, ProvenNear: 1, ProvenWide: 2, Calm: time.Minute, Busy: time.Minute})
	other := s.dial("127.0.9.1", "")
	s.counts(1, 0)
	for range 3 {
		s.dial("127.0.1.1", "")
	}
	s.counts(3, 0)
	for i := range 5 {
		s.dial(fmt.Sprintf("127.0.1.%d", 2+i), "")
	}
	s.counts(6, 0) // five of the /24, and the other
	other.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	var late net.Error
	if _, err := other.Read(make([]byte, 1)); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("a network's flood cut a connection of another: %v", err)
	}
	for _, c := range [][2]string{{"127.0.2.1", "200"}, {"127.0.2.1", "503"}, {"127.0.2.2", "200"}, {"127.0.2.3", "503"}, {"127.0.3.1", "200"}} {
		if got := s.prove(c[0]); got != c[1] {
			t.Errorf("%s gets %s, want %s", c[0], got, c[1])
		}
	}
}

func TestBytes(t *testing.T) {
	g := New(Limits{UnprovenBytes: 100, ProvenBytes: 150, ConnBytes: 80}, nil)
	conn := func() *Conn {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		c := &Conn{Conn: ours, guard: g}
		g.enter(c)
		return c
	}
	a, b, c := conn(), conn(), conn()
	if a.Reserve(81) {
		t.Error("one connection holds more than ConnBytes")
	}
	if !a.Reserve(60) || !b.Reserve(60) {
		t.Error("no room for the younger connection")
	}
	if a.Reserve(1) {
		t.Error("the oldest connection was not cut")
	}
	if err := b.Prove(); err != nil {
		t.Fatal(err)
	}
	if !c.Reserve(80) || c.Prove() != nil {
		t.Error("140 of 150 proven bytes do not fit")
	}
	if b.Reserve(15) {
		t.Error("more than ProvenBytes are held")
	}
	c.Release(80)
	if !b.Reserve(15) {
		t.Error("what is released can be held again")
	}
	b.Close()
	c.Close()
	if u, p, bytes := g.Counts(); u+p+bytes != 0 || len(g.networks) != 0 {
		t.Errorf("%d, %d connections and %d bytes are left", u, p, bytes)
	}
	var none *Conn
	if !none.Reserve(1) || none.Prove() != nil {
		t.Error("without a guard everything is allowed")
	}
	none.Release(1)
	none.Identify(netip.MustParseAddr("192.0.2.1"))
}

func TestClientBehindProxies(t *testing.T) {
	proxies, err := ParseProxies([]string{"10.0.0.0/8", " 192.0.2.1", "fd00::/8", ""})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"198.51.100.1:1", "203.0.113.9", "198.51.100.1"}, // no proxy says so
		{"10.1.1.1:1", "203.0.113.9", "203.0.113.9"},
		{"10.1.1.1:1", "203.0.113.1, 203.0.113.9", "203.0.113.9"}, // the first is what the client says
		{"10.1.1.1:1", "203.0.113.9, 192.0.2.1, 10.2.2.2", "203.0.113.9"},
		{"10.1.1.1:1", "nonsense", "10.1.1.1"},
		{"10.1.1.1:1", "", "10.1.1.1"},
		{"[fd00::1]:1", "2001:db8::7", "2001:db8::7"},
		{"[::ffff:10.1.1.1]:1", "203.0.113.9", "203.0.113.9"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := proxies.Client(r); got.String() != c.want {
			t.Errorf("%+v gives %s", c, got)
		}
	}
	for _, bad := range []string{"10.0.0.0/33", "proxy"} {
		if _, err := ParseProxies([]string{bad}); err == nil {
			t.Errorf("%q is taken for a network", bad)
		}
	}
}

func TestNetworkOf(t *testing.T) {
	for address, want := range map[string][2]string{
		"203.0.113.7":          {"203.0.113.7/32", "203.0.113.0/24"},
		"::ffff:203.0.113.7":   {"203.0.113.7/32", "203.0.113.0/24"},
		"2001:db8:1:2:3:4:5:6": {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"fe80::1%eth0":         {"fe80::/64", "fe80::/48"},
	} {
		a := netip.MustParseAddr(address)
		if got := [2]string{near(a).String(), wide(a).String()}; got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}
