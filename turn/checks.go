package turn

import (
	"net"
	"slices"
	"sync"
	"time"
)

// checkUser is the user of all relays for checks. Names that brains make have colons.
const checkUser = "check"

const (
	// maxChecks is how many relays for checks there are at once.
	maxChecks = 64
	// checkFor is how long one lasts: a page needs to know only that it was made.
	checkFor = 10 * time.Second
)

// checks are the relays for checks. They carry nothing, and have no permissions, which would
// tell strangers where seats are. One more than most ends the oldest: so a flood of them does
// not make others believe that their network is at fault.
type checks struct {
	most int
	life time.Duration

	mu      sync.Mutex
	open    []*mute         // the oldest first
	clients map[string]bool // who has one, by address
}

// from notes that a client has a relay for a check, or that it has ended.
func (c *checks) from(client net.Addr, has bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if has {
		c.clients[clientKey(client)] = true
	} else {
		delete(c.clients, clientKey(client))
	}
}

// has reports whether a client's relay is for a check.
func (c *checks) has(client net.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients[clientKey(client)]
}

func clientKey(client net.Addr) string { return client.Network() + " " + client.String() }

// relay makes one that says to be at an address. No socket belongs to it.
func (c *checks) relay(at net.Addr) *mute {
	m := &mute{checks: c, at: at, ended: make(chan struct{})}
	var oldest *mute
	c.mu.Lock()
	if len(c.open) >= c.most {
		oldest = c.open[0]
	}
	c.open = append(c.open, m)
	m.timer = time.AfterFunc(c.life, m.end)
	c.mu.Unlock()
	if oldest != nil {
		oldest.end()
	}
	return m
}

func (c *checks) forget(m *mute) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.open, m); i >= 0 {
		c.open = slices.Delete(c.open, i, i+1)
	}
}

func (c *checks) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// mute is a relay that drops all that it gets, and hears nothing.
type mute struct {
	checks *checks
	at     net.Addr
	timer  *time.Timer
	once   sync.Once
	ended  chan struct{}
}

func (m *mute) end() {
	m.once.Do(func() {
		m.checks.forget(m)
		close(m.ended)
	})
}

// ReadFrom waits for the end. Its error ends the relay.
func (m *mute) ReadFrom([]byte) (int, net.Addr, error) {
	<-m.ended
	return 0, nil, net.ErrClosed
}

func (m *mute) WriteTo(packet []byte, _ net.Addr) (int, error) { return len(packet), nil }

func (m *mute) Close() error {
	m.timer.Stop()
	m.end()
	return nil
}

func (m *mute) LocalAddr() net.Addr              { return m.at }
func (m *mute) SetDeadline(time.Time) error      { return nil }
func (m *mute) SetReadDeadline(time.Time) error  { return nil }
func (m *mute) SetWriteDeadline(time.Time) error { return nil }
