package guard

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are those of one listener. Zero is no limit.
type Limits struct {
	Unproven, UnprovenNear, UnprovenWide int
	Proven, ProvenNear, ProvenWide       int
	// UnprovenBytes and ProvenBytes bound what is held for all connections of a
	// kind, and ConnBytes what is held for one.
	UnprovenBytes, ProvenBytes, ConnBytes int
	// Calm and Busy are how long a connection may stay unproven.
	Calm, Busy time.Duration
	// Proxies are the proxies in front. Their own connections count for no network.
	Proxies Proxies
	// Pace says when connections are taken in, those that have waited longest first; nil is at
	// once. See "The lobby".
	Pace Pacer
}

// Why a connection is cut or refused, as New's function is told.
const (
	CutOldest  = "oldest"  // another needed the place
	CutLate    = "late"    // it has not proven itself in time
	CutFull    = "full"    // as many as Proven are there
	CutNetwork = "network" // its network has too many
	CutBytes   = "bytes"   // too much would be held for it
	CutLobby   = "lobby"   // more come than the pace takes in
)

var (
	// ErrFull is Prove's error where there are too many connections.
	ErrFull = errors.New("too many connections")
	// ErrNetwork is Prove's error where the network has too many connections.
	ErrNetwork = errors.New("too many connections of one network")
)

// Guard counts the connections of one listener.
type Guard struct {
	limits Limits
	cut    func(why string)
	lobby  atomic.Pointer[lobby] // nil without a pace

	mu            sync.Mutex
	unproven      *list.List // of *Conn, oldest first
	networks      map[netip.Prefix]*count
	proven        int
	unprovenBytes int
	provenBytes   int
}

// count is how many connections a network has.
type count struct{ unproven, proven int }

// New makes a Guard. cut is told each connection that is cut or refused, and must
// not block; nil is nobody.
func New(limits Limits, cut func(why string)) *Guard {
	if cut == nil {
		cut = func(string) {}
	}
	return &Guard{limits: limits, cut: cut, unproven: list.New(), networks: map[netip.Prefix]*count{}}
}

// sweepEvery is how exactly Calm and Busy are kept.
const sweepEvery = 100 * time.Millisecond

// Run cuts connections that stay unproven for too long, until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g.sweep(now)
		}
	}
}

func (g *Guard) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	patience := g.patience()
	for patience > 0 {
		first := g.unproven.Front()
		if first == nil || now.Sub(first.Value.(*Conn).since) < patience {
			return
		}
		g.end(first.Value.(*Conn), CutLate)
	}
}

// busy reports whether the unproven connections take half of what they may. mu is held.
func (g *Guard) busy() bool {
	return g.limits.Unproven > 0 && g.unproven.Len() > g.limits.Unproven/2 ||
		g.limits.UnprovenBytes > 0 && g.unprovenBytes > g.limits.UnprovenBytes/2
}

// Crowded reports whether more clients have come in the last seconds than the pace takes in.
func (g *Guard) Crowded() bool {
	l := g.lobby.Load()
	return l != nil && l.isCrowded(time.Now())
}

// Patience is how long a connection may stay unproven now.
func (g *Guard) Patience() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.patience()
}

func (g *Guard) patience() time.Duration {
	if g.busy() {
		return g.limits.Busy
	}
	return g.limits.Calm
}

// Counts are the connections now, and the bytes that are held for them.
func (g *Guard) Counts() (unproven, proven, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.unproven.Len(), g.proven, g.unprovenBytes + g.provenBytes
}

// Room reports whether a connection from an address could be proven now.
func (g *Guard) Room(a netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.room(a)
}

func (g *Guard) room(a netip.Addr) error {
	if over(g.proven+1, g.limits.Proven) {
		return ErrFull
	}
	if a.IsValid() && (over(g.of(near(a)).proven+1, g.limits.ProvenNear) || over(g.of(wide(a)).proven+1, g.limits.ProvenWide)) {
		return ErrNetwork
	}
	return nil
}

func over(n, limit int) bool { return limit > 0 && n > limit }

// of is what a network has. mu is held.
func (g *Guard) of(network netip.Prefix) count {
	if c := g.networks[network]; c != nil {
		return *c
	}
	return count{}
}

// add changes the count of a connection's networks. mu is held.
func (g *Guard) add(a netip.Addr, unproven, proven int) {
	if !a.IsValid() {
		return
	}
	for _, network := range []netip.Prefix{near(a), wide(a)} {
		c := g.networks[network]
		if c == nil {
			c = &count{}
			g.networks[network] = c
		}
		c.unproven += unproven
		c.proven += proven
		if *c == (count{}) {
			delete(g.networks, network)
		}
	}
}

// enter counts a new connection, and makes a place for it.
func (g *Guard) enter(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.since = time.Now()
	c.place = g.unproven.PushBack(c)
	g.add(c.client, 1, 0)
	g.fit(c.client)
}

// full reports whether one more connection would cut one that has not had the time to prove
// itself.
func (g *Guard) full(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := g.unproven.Front()
	return first != nil && over(g.unproven.Len()+1, g.limits.Unproven) && now.Sub(first.Value.(*Conn).since) < provesWithin
}

// fit cuts the oldest unproven connections until the others are within the
// limits. mu is held.
func (g *Guard) fit(a netip.Addr) {
	for over(g.unproven.Len(), g.limits.Unproven) || over(g.unprovenBytes, g.limits.UnprovenBytes) && g.unproven.Len() > 0 {
		g.end(g.unproven.Front().Value.(*Conn), CutOldest)
	}
	if !a.IsValid() {
		return
	}
	g.fitNetwork(near(a), near, g.limits.UnprovenNear)
	g.fitNetwork(wide(a), wide, g.limits.UnprovenWide)
}

func (g *Guard) fitNetwork(network netip.Prefix, of func(netip.Addr) netip.Prefix, limit int) {
	for e := g.unproven.Front(); e != nil && over(g.of(network).unproven, limit); {
		c := e.Value.(*Conn)
		e = e.Next()
		if c.client.IsValid() && of(c.client) == network {
			g.end(c, CutNetwork)
		}
	}
}

// end cuts a connection. mu is held.
func (g *Guard) end(c *Conn, why string) {
	g.forget(c)
	g.cut(why)
	c.Conn.Close() // a TCP socket without linger: it does not block
}

// forget takes a connection out of all counts, once. mu is held.
func (g *Guard) forget(c *Conn) {
	if c.gone {
		return
	}
	c.gone = true
	if c.place != nil {
		g.unproven.Remove(c.place)
		c.place = nil
		g.add(c.client, -1, 0)
		g.unprovenBytes -= c.bytes
	} else {
		g.proven--
		g.add(c.client, 0, -1)
		g.provenBytes -= c.bytes
	}
	c.bytes = 0
}
