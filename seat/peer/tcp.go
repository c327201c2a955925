package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/pionlog"
	"github.com/nearcast/nearcast/internal/wire"
)

// Where a network lets no UDP out, the browser connects to the seat by TCP (RFC 6544,
// passive candidates). The seat never connects, so nobody can have it knock somewhere. A
// connection reaches ICE only after its first message has shown ICE's password, which the
// browser has from the answer. What anybody may open before is bounded, and the oldest
// stranger makes room, so that strangers keep no person out.
var tcpLimits = guard.Limits{Unproven: 64, UnprovenNear: 16, Proven: 8, Calm: 5 * time.Second, Busy: time.Second}

const (
	// A browser sends input and reports. What it sends above this rate waits in its own
	// network.
	tcpRate, tcpBurst = 512 << 10, 128 << 10 // bytes
	// tcpQueue is how much of the stream may wait for a connection that does not take it:
	// half a second at 8 Mbit/s. What is more is lost, as in a router.
	tcpQueue = 512 << 10
	// tcpTries is how many ports of the range are tried.
	tcpTries = 64
	// maxFirst is the largest first message. A browser's has about 120 bytes.
	maxFirst = 512
)

// tcpGate is the listener that ICE gets. It gives out connections that are proven.
type tcpGate struct {
	net.Listener
	guard  *guard.Guard
	reach  reach
	log    *slog.Logger
	proven chan net.Conn
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ends   sync.Once
	done   sync.WaitGroup
	secret atomic.Pointer[iceSecret] // nil before the answer

	mu   sync.Mutex
	open map[*tcpConn]bool // nil once the gate is closed
}

// iceSecret is the seat's name and password for ICE.
type iceSecret struct{ name, password string }

// openTCP listens in the range of the media ports.
func openTCP(l wire.Listen, reach reach, log *slog.Logger) (*tcpGate, error) {
	raw, err := listenTCP(l)
	if err != nil {
		return nil, err
	}
	g := &tcpGate{guard: guard.New(tcpLimits, nil), reach: reach, log: log, proven: make(chan net.Conn), open: map[*tcpConn]bool{}}
	g.Listener = g.guard.Listener(raw)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.done.Go(func() { g.guard.Run(g.ctx) })
	g.done.Go(g.take)
	return g, nil
}

func listenTCP(l wire.Listen) (net.Listener, error) {
	network := "tcp4"
	if l.Media != "" {
		a, err := netip.ParseAddr(l.Media)
		if err != nil {
			return nil, fmt.Errorf("listen by TCP: %w", err)
		}
		if a.Unmap().Is6() {
			network = "tcp6"
		}
	}
	if l.PortMax == 0 {
		return net.Listen(network, net.JoinHostPort(l.Media, "0"))
	}
	if l.PortMin > l.PortMax {
		return nil, fmt.Errorf("listen by TCP: the ports %d to %d are no range", l.PortMin, l.PortMax)
	}
	ports := int(l.PortMax) - int(l.PortMin) + 1
	first := rand.IntN(ports)
	var err error
	for i := range min(ports, tcpTries) {
		var listener net.Listener
		port := int(l.PortMin) + (first+i)%ports
		if listener, err = net.Listen(network, net.JoinHostPort(l.Media, fmt.Sprint(port))); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("listen by TCP on a port of %d to %d: %w", l.PortMin, l.PortMax, err)
}

// take accepts connections, until the listener is closed.
func (g *tcpGate) take() {
	for {
		conn, err := g.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors are left: some will be
			select {
			case <-g.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		c := newTCPConn(conn, g)
		from, ok := conn.RemoteAddr().(*net.TCPAddr)
		if !ok || !g.reach.hasIP(from.IP) || !g.hold(c) {
			conn.Close()
			continue
		}
		g.done.Go(func() { g.admit(c) })
	}
}

// hold notes a connection, so that Close ends it.
func (g *tcpGate) hold(c *tcpConn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		return false
	}
	g.open[c] = true
	return true
}

// admit reads the first message of a connection, and gives it to ICE if it is good. The
// guard closes connections that let it wait.
func (g *tcpGate) admit(c *tcpConn) {
	err := c.prove(g.secret.Load)
	if stranger, ok := c.Conn.(*guard.Conn); ok && err == nil {
		err = stranger.Prove()
	}
	if err != nil {
		g.log.Debug("TCP connection refused", "from", c.RemoteAddr().String(), "error", err)
		c.Close()
		return
	}
	select {
	case g.proven <- c:
	case <-g.ctx.Done():
		c.Close()
	}
}

// Accept gives the next proven connection.
func (g *tcpGate) Accept() (net.Conn, error) {
	select {
	case c := <-g.proven:
		return c, nil
	case <-g.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close closes the listener and all connections, and waits for the gate's goroutines.
func (g *tcpGate) Close() (err error) {
	g.ends.Do(func() {
		g.cancel()
		err = g.Listener.Close()
		g.mu.Lock()
		open := g.open
		g.open = nil
		g.mu.Unlock()
		for c := range open {
			c.Close()
		}
		g.done.Wait()
	})
	return err
}

// tell tells the gate ICE's name and password, from the seat's answer.
func (g *tcpGate) tell(answer string) {
	var s iceSecret
	for line := range strings.Lines(answer) {
		line = strings.TrimSpace(line)
		if value, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok {
			s.name = value
		} else if value, ok := strings.CutPrefix(line, "a=ice-pwd:"); ok {
			s.password = value
		}
	}
	g.secret.Store(&s)
}

// tcpConn is one connection.
type tcpConn struct {
	net.Conn
	gate  *tcpGate
	rate  *rate.Limiter
	first []byte // was read by prove, and is read again by ICE
}

func newTCPConn(conn net.Conn, gate *tcpGate) *tcpConn {
	return &tcpConn{Conn: conn, gate: gate, rate: rate.NewLimiter(tcpRate, tcpBurst)}
}

var errFirst = errors.New("its first message is not ICE's of this seat")

// prove reads the first message, which must be a binding request with ICE's name and
// password.
func (c *tcpConn) prove(secret func() *iceSecret) error {
	first := make([]byte, 2, 2+maxFirst)
	if _, err := io.ReadFull(c.Conn, first); err != nil {
		return fmt.Errorf("read the first message: %w", err)
	}
	n := int(binary.BigEndian.Uint16(first))
	if n > maxFirst {
		return errFirst
	}
	first = first[:2+n]
	if _, err := io.ReadFull(c.Conn, first[2:]); err != nil {
		return fmt.Errorf("read the first message: %w", err)
	}
	m := stun.Message{Raw: append([]byte(nil), first[2:]...)}
	var name stun.Username
	s := secret()
	if s == nil || m.Decode() != nil || m.Type != stun.BindingRequest || name.GetFrom(&m) != nil ||
		!strings.HasPrefix(name.String(), s.name+":") || stun.NewShortTermIntegrity(s.password).Check(&m) != nil {
		return errFirst
	}
	c.first = first
	return nil
}

// Read slows down a browser that sends too much.
func (c *tcpConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	if len(p) > tcpBurst {
		p = p[:tcpBurst]
	}
	n, err := c.Conn.Read(p)
	if err == nil && c.rate.WaitN(c.gate.ctx, n) != nil {
		return n, net.ErrClosed
	}
	return n, err
}

func (c *tcpConn) Close() error {
	c.gate.mu.Lock()
	if c.gate.open != nil {
		delete(c.gate.open, c)
	}
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// openTCP opens the peer's port for TCP. Without one the peer goes on by UDP alone.
func (p *Peer) openTCP() ice.TCPMux {
	gate, err := openTCP(p.cfg.Listen, p.reach, p.log)
	if err != nil {
		p.log.Warn("no media by TCP", "error", err)
		return nil
	}
	p.gate = gate
	p.mux = ice.NewTCPMuxDefault(ice.TCPMuxParams{Listener: gate, Logger: pionlog.To(p.log).NewLogger("ice-tcp"),
		ReadBufferSize: 32, WriteBufferSize: tcpQueue, AliveDurationForConnFromStun: 5 * time.Second})
	return p.mux
}

// closeTCP ends all connections by TCP.
func (p *Peer) closeTCP() error {
	if p.gate == nil {
		return nil
	}
	// First the gate: ICE waits for connections that still say their first word.
	return errors.Join(p.gate.Close(), p.mux.Close())
}
