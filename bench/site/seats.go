package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

// seats are all seats of the site, and the one server of their seat APIs.
type seats struct {
	ctx   context.Context // ends with the site
	nomad *fakeNomad
	peers identity.Peers
	// tell tells the brains of a seat.
	tell  func(n *node, s wire.Seat, gone bool)
	lease time.Duration // after which a seat is idle again whose person went before they had a picture
	start time.Duration // of a seat

	port   int
	server *http.Server
	nodes  []*node
	all    []*seat

	mu     sync.Mutex
	byID   map[string]*seat
	empty  []*seat
	holds  map[string]*seat // by session
	double []string         // what went wrong: sessions with two seats

	granted, refused atomic.Int64
	lost             atomic.Int64 // claims whose answer did not reach the brain
}

// hold notes that a session has a seat. A session that has another one already is what must
// never happen, unless the brain never heard that it had the other: an answer that is lost
// costs that seat its lease.
func (f *seats) hold(session string, s *seat) {
	f.granted.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	other := f.holds[session]
	f.holds[session] = s
	if other == nil || other == s {
		return
	}
	f.lost.Add(1)
	// seat.mu is held, and a connection that is closed shows a moment later.
	time.AfterFunc(closing, func() { f.judge(session, other, s) })
}

// judge notes a double claim if brains are attached to both seats for one session.
func (f *seats) judge(session string, one, other *seat) {
	if one.serves(session) && other.serves(session) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.double = append(f.double, fmt.Sprintf("session %s has two seats, at %s and %s", session, one.address, other.address))
	}
}

// closing is how long a connection may take to close.
const closing = 2 * time.Second

// serves reports whether a brain is attached to the seat for a session.
func (s *seat) serves(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session == session && s.attached
}

func (f *seats) release(session string, s *seat) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holds[session] == s {
		delete(f.holds, session)
	}
}

// doubles is how many sessions had two seats.
func (f *seats) doubles() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.double
}

// of is the seat that a session has.
func (f *seats) of(session string) *seat {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.holds[session]
}

// listen serves the seat APIs of all seats on one port: each has its own address below
// 127.0.0.0/8, and loopback alone reaches the listener.
func (f *seats) listen() error {
	lo := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
		})
		if err != nil {
			return fmt.Errorf("bind the seats to loopback: %w", err)
		}
		return failed
	}}
	listener, err := lo.Listen(f.ctx, "tcp4", "0.0.0.0:0")
	if err != nil {
		return fmt.Errorf("listen for the seats: %w", err)
	}
	f.port = listener.Addr().(*net.TCPAddr).Port
	f.server = &http.Server{Handler: http.HandlerFunc(f.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ReadHeaderTimeout: 10 * time.Second}
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s := f.at(hello.Conn.LocalAddr())
		if s == nil {
			return nil, fmt.Errorf("there is no seat at %s", hello.Conn.LocalAddr())
		}
		return s.node.me.Server(f.peers, wire.BrainService).GetConfigForClient(hello)
	}}
	go func() { _ = f.server.Serve(tls.NewListener(throughNodes{listener, f}, config)) }()
	return nil
}

// at is the seat at an address.
func (f *seats) at(address net.Addr) *seat {
	number, ok := numberOf(address)
	if !ok || number >= len(f.all) {
		return nil
	}
	return f.all[number]
}

// throughNodes takes connections through the networks of their nodes.
type throughNodes struct {
	net.Listener
	seats *seats
}

func (t throughNodes) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if s := t.seats.at(conn.LocalAddr()); s != nil {
		return through{conn, s.node}, nil
	}
	return conn, nil
}

// serve is the seat API of the seat whose address the caller used.
func (f *seats) serve(rw http.ResponseWriter, r *http.Request) {
	address, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	s := f.at(address)
	if s == nil {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	switch r.URL.Path {
	case wire.AttachPath:
		f.attach(rw, r, s)
	case wire.EndPath:
		var req wire.EndRequest
		if json.NewDecoder(r.Body).Decode(&req) != nil || !s.has(req.Session) {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
		f.end(s, req.Session)
	case wire.RetirePath:
		if !s.has("") {
			rw.WriteHeader(http.StatusConflict)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
		f.end(s, "")
	case wire.CheckPath:
		var req wire.CheckRequest
		if json.NewDecoder(r.Body).Decode(&req) != nil || !s.has(req.Session) {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	default:
		rw.WriteHeader(http.StatusNoContent)
	}
}

// has reports whether a session has the seat; without a session, whether it is idle.
func (s *seat) has(session string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session == "" {
		return s.state == wire.SeatIdle
	}
	return s.session == session && s.state.Busy()
}

// inState counts the seats in a state.
func (f *seats) inState(state wire.SeatState) (count int) {
	for _, s := range f.all {
		s.mu.Lock()
		if s.id != "" && s.state == state {
			count++
		}
		s.mu.Unlock()
	}
	return count
}
