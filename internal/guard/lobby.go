package guard

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Pacer says when the next connection may be taken in. Wait's error ends the listener.
type Pacer interface {
	Wait(ctx context.Context) error
}

const (
	// lobbySize is how many connections wait at most until they are taken in.
	lobbySize = 256
	// lobbyShare is which part of them one network may have once there is no place left.
	lobbyShare = 8
	// lobbyAge is how old a connection may be that is taken in: its client gives up soon.
	lobbyAge = 1500 * time.Millisecond
	// crowdWait is how long a connection may wait before it is the sign of a crowd.
	crowdWait = 200 * time.Millisecond
	// crowdFor is how long a crowd counts after the last sign of it.
	crowdFor = 2 * time.Second
	// lobbyTurnover is how many connections are closed for others, for each that is taken in. To
	// accept one and close it takes about 60 µs, where a brain takes 2 to 4 ms for one that it
	// serves, and its client comes again soon. The kernel drops those beyond it for nothing, and
	// their clients' kernels try again after 1, 2, 4 s.
	lobbyTurnover = 4
	// backlog is how many connections wait in the kernel: those there get older than the lobby
	// knows.
	backlog = 128
	// provesWithin is how long an honest client needs to prove itself where the server has time
	// for it. Nobody is taken in in place of one that has not had it.
	provesWithin = 500 * time.Millisecond
)

// lobby is a listener whose connections wait, unread, until the pace takes them in. Where
// there are too many, the oldest is closed, or the kernel accepts no more (lobbyTurnover). So a
// server that gets ten times what it can serve goes on serving what it can.
type lobby struct {
	net.Listener
	pace    Pacer
	proxies Proxies
	cut     func(why string)
	full    func(now time.Time) bool // nobody can be taken in
	failed  chan error
	some    chan struct{} // holds one item while a connection waits
	taken   chan struct{} // holds one item after a connection was taken in
	closed  context.Context
	close   context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	waiting  *list.List // of *guest, oldest first
	networks map[netip.Prefix]int
	turns    int       // how many may be closed for others
	crowded  time.Time // when one was closed for another, or taken in late
}

// guest is a connection in the lobby.
type guest struct {
	net.Conn
	network netip.Prefix // invalid where it is a proxy's
	since   time.Time
}

func newLobby(inner net.Listener, pace Pacer, proxies Proxies, cut func(why string), full func(now time.Time) bool) *lobby {
	l := &lobby{Listener: inner, pace: pace, proxies: proxies, cut: cut, full: full, failed: make(chan error), some: make(chan struct{}, 1),
		taken: make(chan struct{}, 1), waiting: list.New(), networks: map[netip.Prefix]int{}, turns: lobbySize}
	shorten(inner)
	l.closed, l.close = context.WithCancel(context.Background())
	l.running.Go(l.fill)
	return l
}

// shorten bounds the kernel's queue of a listener.
func shorten(l net.Listener) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), backlog) }) // else it is as long as before
	}
}

// fill takes connections from the kernel, whose queue would keep those longest that wait for
// the longest already.
func (l *lobby) fill() {
	for l.turn() {
		conn, err := l.Listener.Accept()
		if err == nil {
			l.enter(conn, time.Now())
			continue
		}
		select {
		case l.failed <- err:
		case <-l.closed.Done():
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// turn waits until a connection may come in, and reports false once the lobby is closed.
func (l *lobby) turn() bool {
	for {
		l.mu.Lock()
		wait := time.Duration(0)
		if l.waiting.Len() >= lobbySize && l.turns == 0 {
			wait = time.Until(l.waiting.Front().Value.(*guest).since.Add(lobbyAge))
		}
		l.mu.Unlock()
		if wait <= 0 {
			return l.closed.Err() == nil
		}
		old := time.NewTimer(wait)
		select {
		case <-l.taken:
		case <-old.C:
		case <-l.closed.Done():
		}
		old.Stop()
	}
}

// Accept returns the next connection at the pace.
func (l *lobby) Accept() (net.Conn, error) {
	for {
		select {
		case err := <-l.failed:
			return nil, err
		case <-l.closed.Done():
			return nil, net.ErrClosed
		case <-l.some:
		}
		if err := l.pace.Wait(l.closed); err != nil {
			return nil, net.ErrClosed
		}
		for l.full(time.Now()) {
			select {
			case <-l.closed.Done():
				return nil, net.ErrClosed
			case <-time.After(5 * time.Millisecond):
			}
		}
		if conn := l.next(time.Now()); conn != nil {
			return conn, nil
		}
	}
}

// Close ends the listener and closes the connections that wait.
func (l *lobby) Close() error {
	l.close()
	err := l.Listener.Close()
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting.Len() > 0 {
		l.leave(l.waiting.Front()).Close()
	}
	return err
}

func (l *lobby) enter(conn net.Conn, now time.Time) {
	g := &guest{Conn: conn, since: now}
	if a := addressOf(conn.RemoteAddr().String()); a.IsValid() && !l.proxies.Has(a) {
		g.network = wide(a)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.Len() >= lobbySize {
		l.crowded = now
		l.cut(CutLobby)
		l.turns = max(0, l.turns-1) // there is none where the oldest is too old
		if g.network.IsValid() && l.networks[g.network] >= lobbySize/lobbyShare {
			conn.Close()
			return
		}
		l.leave(l.waiting.Front()).Close()
	}
	l.waiting.PushBack(g)
	if g.network.IsValid() {
		l.networks[g.network]++
	}
	l.again()
}

// next is the connection that has waited longest, but for those that have waited too long; nil
// where there is none.
func (l *lobby) next(now time.Time) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting.Len() > 0 {
		g := l.leave(l.waiting.Front())
		if now.Sub(g.since) > crowdWait {
			l.crowded = now
		}
		if now.Sub(g.since) > lobbyAge {
			l.cut(CutLobby)
			g.Close()
			continue
		}
		if l.waiting.Len() > 0 {
			l.again()
		}
		l.turns = min(lobbySize, l.turns+lobbyTurnover)
		l.signal(l.taken)
		return g.Conn
	}
	return nil
}

// isCrowded reports whether more have come than the pace takes in.
func (l *lobby) isCrowded(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.crowded) < crowdFor
}

// leave takes a connection out of the lobby. mu is held.
func (l *lobby) leave(e *list.Element) *guest {
	g := l.waiting.Remove(e).(*guest)
	if g.network.IsValid() {
		if l.networks[g.network]--; l.networks[g.network] == 0 {
			delete(l.networks, g.network)
		}
	}
	return g
}

func (l *lobby) again() { l.signal(l.some) }

func (l *lobby) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
