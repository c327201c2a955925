package brain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// keepLost is how long the seats of a node count whose feed is lost: its plugin may
	// have been killed, or the network is cut for a moment.
	keepLost = 6 * time.Second
	// firstFeeds is how long a brain that has just started waits for the feeds of all
	// nodes that Consul lists.
	firstFeeds = 3 * time.Second

	// What a node may tell, as it may be taken over.
	maxNodeSeats = 4000
	maxSeatBytes = 2000
	maxNodeFeeds = 8 // of one node's name: registrars that share a Consul agent
)

// feeds are the seats of the site, as each node's registrar tells of its own.
type feeds struct {
	peers identity.Peers
	log   *slog.Logger
	// changed gets all seats at each change, once those of all nodes are known.
	changed func([]wire.Seat)

	ctx    context.Context // of all connections
	cancel context.CancelFunc
	open   sync.WaitGroup

	mu       sync.Mutex
	nodes    map[string]*nodeFeed // by registrar
	complete map[string]bool      // keys of registrars that sent a snapshot
	known    bool
}

// nodeFeed is what one registrar tells.
type nodeFeed struct {
	id, node string
	seats    map[string]wire.Seat
	fresh    map[string]wire.Seat // a snapshot that is not complete
	end      context.CancelFunc   // of the connection
	lost     *time.Timer          // runs while there is no connection
}

func newFeeds(peers identity.Peers, log *slog.Logger, changed func([]wire.Seat)) *feeds {
	f := &feeds{peers: peers, log: log, changed: changed, nodes: map[string]*nodeFeed{}, complete: map[string]bool{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// run decides when the seats are known, and ends all feeds when ctx ends.
func (f *feeds) run(ctx context.Context, fleet Fleet) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	var first sync.Once
	all.Go(func() {
		fleet.WatchNodes(watching, func(nodes []wire.Node) {
			first.Do(func() {
				// A node may be listed that has no registrar any more.
				all.Go(func() {
					select {
					case <-time.After(firstFeeds):
						f.setKnown()
					case <-watching.Done():
					}
				})
			})
			all.Go(func() {
				if f.waitAll(watching, nodes) {
					f.setKnown()
					cancel() // nothing more is asked of Consul
				}
			})
		})
	})
	<-ctx.Done()
	all.Wait()
	f.cancel()
	f.mu.Lock()
	for _, n := range f.nodes {
		if n.lost != nil {
			n.lost.Stop()
		}
	}
	f.mu.Unlock()
	f.open.Wait()
}

// waitAll returns true when all healthy nodes have sent a snapshot, false when ctx ends.
func (f *feeds) waitAll(ctx context.Context, nodes []wire.Node) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		f.mu.Lock()
		done := !slices.ContainsFunc(nodes, func(n wire.Node) bool { return n.Healthy && !f.complete[n.Key] })
		f.mu.Unlock()
		if done {
			return ctx.Err() == nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

func (f *feeds) setKnown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known {
		f.known = true
		f.tell()
	}
}

// ServeHTTP takes the feed of a node. The caller has shown the key of a registrar.
func (f *feeds) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	peer, err := identity.Caller(r, f.peers)
	if err != nil {
		identity.Refuse(rw, wire.NodeService)
		return
	}
	ctx, end := context.WithCancel(f.ctx)
	defer end()
	n, err := f.begin(peer, end)
	if err != nil {
		writeProblem(rw, unavailable(err.Error()))
		return
	}
	defer f.open.Done()
	defer f.connectionLost(n, ctx)
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return // it has answered
	}
	f.log.Info("a node tells of its seats", "node", n.node)
	err = feed.Read(ctx, ws, func(m feed.Message[wire.Seat]) error { return f.take(ctx, n, identity.KeyOf(r.TLS), m) })
	if ctx.Err() == nil {
		f.log.Warn("the feed of a node ended", "node", n.node, "error", err)
	}
}

// begin makes a connection the one of its registrar, in place of an earlier one.
func (f *feeds) begin(peer identity.Peer, end context.CancelFunc) (*nodeFeed, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return nil, errors.New("this brain is closing")
	}
	id := peer.Node + "/" + peer.ID
	n := f.nodes[id]
	if n == nil {
		others := 0
		for _, other := range f.nodes {
			if other.node == peer.Node {
				others++
			}
		}
		if others >= maxNodeFeeds {
			return nil, errors.New("the node has too many feeds")
		}
		n = &nodeFeed{id: id, node: peer.Node}
		f.nodes[id] = n
	}
	if n.end != nil {
		n.end()
	}
	if n.lost != nil {
		n.lost.Stop()
		n.lost = nil
	}
	n.end, n.fresh = end, nil
	f.open.Add(1)
	return n, nil
}

// connectionLost keeps the seats for a while, unless another connection has come.
func (f *feeds) connectionLost(n *nodeFeed, ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return // replaced, or the brain is closing
	}
	n.end = nil
	n.lost = time.AfterFunc(keepLost, func() { f.gone(n) })
}

// gone drops what a registrar has told.
func (f *feeds) gone(n *nodeFeed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes[n.id] != n || n.end != nil || f.ctx.Err() != nil {
		return
	}
	delete(f.nodes, n.id)
	f.log.Warn("a node is lost, and its seats with it", "node", n.node, "seats", len(n.seats))
	f.tell()
}

// take applies a message.
func (f *feeds) take(ctx context.Context, n *nodeFeed, key string, m feed.Message[wire.Seat]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // of a connection that was replaced
	}
	if m.All {
		n.fresh = map[string]wire.Seat{}
	}
	to := n.seats
	if n.fresh != nil {
		to = n.fresh
	}
	for id, seat := range m.Set {
		if seat.ID != id || seatBytes(seat) > maxSeatBytes {
			return fmt.Errorf("the seat %.64q is malformed", id)
		}
		// The node's name is that of the Consul agent; the node could say anything.
		seat.Node = n.node
		to[id] = seat
	}
	for _, id := range m.Gone {
		delete(to, id)
	}
	if len(to) > maxNodeSeats {
		return fmt.Errorf("a node tells of more than %d seats", maxNodeSeats)
	}
	if n.fresh != nil {
		if m.More {
			return nil
		}
		n.seats, n.fresh = n.fresh, nil
		f.complete[key] = true
	}
	f.tell()
	return nil
}

func seatBytes(s wire.Seat) int {
	return len(s.ID) + len(s.App) + len(s.Job) + len(s.Address) + len(s.Key) + len(s.State) + len(s.Progress.Phase) +
		len(s.Progress.Detail) + len(s.Session) + len(s.Subject) + len(s.Network)
}

// tell passes all seats on. mu is held, so that what is told is in order.
func (f *feeds) tell() {
	if !f.known {
		return
	}
	seats := map[string]wire.Seat{}
	for _, id := range slices.Sorted(maps.Keys(f.nodes)) {
		for seat, s := range f.nodes[id].seats {
			if _, ok := seats[seat]; !ok { // no node takes away a seat of another
				seats[seat] = s
			}
		}
	}
	f.changed(slices.SortedFunc(maps.Values(seats), func(a, b wire.Seat) int { return cmp.Compare(a.ID, b.ID) }))
}
