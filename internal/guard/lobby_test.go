package guard

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// gate is a Pacer that lets as many through as the test says.
type gate chan struct{}

func (g gate) Wait(ctx context.Context) error {
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lobbyTest is a lobby on loopback.
type lobbyTest struct {
	*testing.T
	*lobby
	gate gate
	in   chan net.Conn // taken in

	mu  sync.Mutex
	cut int
}

func newLobbyTest(t *testing.T) *lobbyTest {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &lobbyTest{T: t, gate: make(gate), in: make(chan net.Conn, 2*lobbySize)}
	s.lobby = newLobby(l, s.gate, nil, func(string) { s.mu.Lock(); s.cut++; s.mu.Unlock() },
		func(time.Time) bool { return false })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := s.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			s.in <- conn
		}
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
		for len(s.in) > 0 {
			(<-s.in).Close()
		}
	})
	return s
}

// come dials from an address, and waits until the lobby has seen it.
func (s *lobbyTest) come(from string) net.Conn {
	s.Helper()
	was := s.seen()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { conn.Close() })
	testkit.Until(s.T, "the lobby has the connection", func() bool { return s.seen() > was })
	return conn
}

// seen is how many connections are in the lobby or were cut.
func (s *lobbyTest) seen() int {
	s.lobby.mu.Lock()
	defer s.lobby.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.Len() + s.cut
}

// taken is the next connection that is taken in.
func (s *lobbyTest) taken() net.Conn {
	s.Helper()
	select {
	case conn := <-s.in:
		return conn
	case <-time.After(10 * time.Second):
		s.Fatal("nobody is taken in")
		return nil
	}
}

// open reports whether the other end has not closed a connection.
func open(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Who waits longest is taken in first; where there are too many, the oldest is closed.
func TestLobby(t *testing.T) {
	s := newLobbyTest(t)
	var all []net.Conn
	for i := range lobbySize + 2 {
		all = append(all, s.come(net.IPv4(127, 0, byte(i), 1).String()))
	}
	if open(all[0]) || open(all[1]) || !open(all[2]) || !open(all[len(all)-1]) {
		t.Errorf("the oldest two must be closed, and no others: %v %v %v %v", open(all[0]), open(all[1]), open(all[2]), open(all[len(all)-1]))
	}
	s.gate <- struct{}{}
	first := s.taken()
	if got, want := first.RemoteAddr().String(), all[2].LocalAddr().String(); got != want {
		t.Errorf("%s is taken in, and not %s", got, want)
	}
	s.in <- first // to be closed
}

// Where the lobby is full, no more are accepted and closed than there are turns, and each that is
// taken in gives some.
func TestLobbyTurnover(t *testing.T) {
	s := newLobbyTest(t)
	for i := range lobbySize {
		s.come(net.IPv4(127, 0, byte(i), 1).String())
	}
	s.lobby.mu.Lock()
	s.turns = 2
	for e := s.waiting.Front(); e != nil; e = e.Next() {
		e.Value.(*guest).since = time.Now().Add(time.Hour) // none is too old
	}
	s.lobby.mu.Unlock()
	const more = lobbyTurnover + 6
	for i := range more {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(i, err)
		}
		defer conn.Close()
	}
	closed := func() int { s.mu.Lock(); defer s.mu.Unlock(); return s.cut }
	testkit.Until(t, "two are closed", func() bool { return closed() == 2 })
	s.gate <- struct{}{}
	s.in <- s.taken()
	// One comes in the place of the one that was taken in, and one was accepted before it.
	testkit.Until(t, "the others have their turn", func() bool { return closed() >= 2+lobbyTurnover })
	s.gate <- struct{}{}
	s.in <- s.taken()
	testkit.Until(t, "all have come in", func() bool { return s.seen() == lobbySize-2+more })
	if got := closed(); got != more-2 {
		t.Errorf("%d of %d were closed for others", got, more)
	}
}

// A network that fills the lobby does not push out the others.
func TestLobbyIsShared(t *testing.T) {
	s := newLobbyTest(t)
	honest := s.come("127.0.200.1")
	for range lobbySize + lobbySize/2 {
		s.come("127.0.1.1")
	}
	if !open(honest) {
		t.Error("one network pushed out another one")
	}
}

// Who has waited too long is not taken in.
func TestLobbyAge(t *testing.T) {
	s := newLobbyTest(t)
	old := s.come("127.0.0.1")
	s.lobby.mu.Lock()
	s.waiting.Front().Value.(*guest).since = time.Now().Add(-2 * lobbyAge)
	s.lobby.mu.Unlock()
	fresh := s.come("127.0.0.1")
	s.gate <- struct{}{}
	got := s.taken()
	if got.RemoteAddr().String() != fresh.LocalAddr().String() || open(old) {
		t.Errorf("%s is taken in; the old one is open: %v", got.RemoteAddr(), open(old))
	}
	s.in <- got
}

// The end of the listener closes those that wait.
func TestLobbyEnds(t *testing.T) {
	s := newLobbyTest(t)
	conn := s.come("127.0.0.1")
	s.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the end of the listener: %v", err)
	}
}

// A crowd of honest clients that comes at once is not cut, but waits for its turn.
func TestCrowdHasTimeToProve(t *testing.T) {
	g := New(Limits{Unproven: 4}, nil)
	now := time.Now()
	for range 4 {
		c := &Conn{Conn: &net.TCPConn{}, guard: g}
		g.enter(c)
	}
	if !g.full(now) {
		t.Error("the fifth would cut one that has just come")
	}
	if g.full(now.Add(provesWithin + time.Second)) {
		t.Error("who has had their time keeps out others")
	}
}
