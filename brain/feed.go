package brain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// firstFeeds is how long a brain that has just started waits for the feeds of the
	// nodes that Consul lists. One that has not come then may be dead.
	firstFeeds = 3 * time.Second

	// What a node may tell, as it may be taken over.
	maxNodeSeats = 4000
	maxSeatBytes = 4000
	maxNodeFeeds = 8 // of one node's name: registrars that share a Consul agent
)

// feeds are the connections by which nodes tell of their seats.
type feeds struct {
	peers   identity.Peers
	state   *state
	log     *slog.Logger
	running context.Context // of the brain

	mu     sync.Mutex
	nodes  map[node]context.CancelFunc // each ends the connection of a node
	heard  map[string]bool             // keys of registrars that have told all seats; nil once it does not matter
	change chan struct{}               // closed, and replaced, when heard grows
}

func newFeeds(running context.Context, peers identity.Peers, state *state, log *slog.Logger) *feeds {
	return &feeds{peers: peers, state: state, log: log, running: running,
		nodes: map[node]context.CancelFunc{}, heard: map[string]bool{}, change: make(chan struct{})}
}

// ServeHTTP serves wire.FeedPath. The caller has shown the key of a registrar.
func (f *feeds) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	peer, err := identity.Caller(r, f.peers)
	if err != nil {
		identity.Refuse(rw, wire.NodeService)
		return
	}
	ctx, end := context.WithCancel(f.running)
	defer end()
	from := node{feed: peer.Node + "/" + peer.ID, name: peer.Node}
	leave, err := f.enter(from, end)
	if err != nil {
		writeProblem(rw, unavailable(err.Error()))
		return
	}
	defer leave()
	ws, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return // Accept has answered
	}
	f.log.Info("a node tells of its seats", "node", from.name)
	seats := map[string]bool{}
	err = feed.Read(ctx, ws, feed.Whole(func(m feed.Message[wire.Seat]) error {
		if err := ctx.Err(); err != nil {
			return err // a newer connection of the node tells by now
		}
		if err := f.takes(from, seats, m); err != nil {
			return err
		}
		if m.All {
			f.hears(identity.KeyOf(r.TLS))
		}
		return nil
	}))
	if ctx.Err() == nil {
		f.log.Warn("the feed of a node ended", "node", from.name, "error", err)
	}
}

// takes takes a message of a node. seats are the node's seats so far.
func (f *feeds) takes(from node, seats map[string]bool, m feed.Message[wire.Seat]) error {
	now := f.state.now()
	measured, err := measuredOf(m.Brief, now)
	if err != nil {
		return err
	}
	if err := bounded(seats, m.Set, m.Gone); err != nil {
		return err
	}
	boundMeasured(m.Set, now)
	if m.All || len(m.Set)+len(m.Gone) > 0 {
		f.state.nodeSaid(from, m.All, m.Set, m.Gone)
	}
	if len(measured) > 0 {
		f.state.nodeMeasured(from, measured)
	}
	return nil
}

// measured is what a seat measured.
type measured struct {
	now     *wire.Measured
	session *wire.Quality
}

// measuredOf reads wire.Seat's Briefs.
func measuredOf(briefs map[string]string, now time.Time) (map[string]measured, error) {
	out := make(map[string]measured, len(briefs))
	for id, text := range briefs {
		m, q, err := wire.ReadBrief(text, now)
		if err != nil {
			return nil, fmt.Errorf("read what the seat %.64q measured: %w", id, err)
		}
		out[id] = measured{m, q}
	}
	return out, nil
}

// bounded refuses what no node tells. seats are the node's seats so far.
func bounded(seats map[string]bool, set map[string]wire.Seat, gone []string) error {
	for id, s := range set {
		size := len(s.ID) + len(s.App) + len(s.Job) + len(s.Address) + len(s.Key) + len(s.Stills) + len(s.State) + len(s.Progress.Phase) +
			len(s.Progress.Detail) + len(s.Session) + len(s.Subject) + len(s.Network) + len(s.Customer)
		for name, value := range s.Meta {
			size += len(name) + len(value)
		}
		if s.ID != id || size > maxSeatBytes {
			return fmt.Errorf("the seat %.64q is malformed", id)
		}
		seats[id] = true
	}
	for _, id := range gone {
		delete(seats, id)
	}
	if len(seats) > maxNodeSeats {
		return fmt.Errorf("a node tells of more than %d seats", maxNodeSeats)
	}
	return nil
}

// boundMeasured cuts what was measured to what can be.
func boundMeasured(set map[string]wire.Seat, now time.Time) {
	for id, s := range set {
		if s.Measured != nil || s.Quality != nil {
			s.Measured, s.Quality = s.Measured.Bounded(now), s.Quality.Bounded()
			set[id] = s
		}
	}
}

// enter makes a connection the one of its node, in place of an earlier one. leave ends
// that.
func (f *feeds) enter(from node, end context.CancelFunc) (leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, again := f.nodes[from]
	if again {
		before()
	} else {
		others := 0
		for other := range f.nodes {
			if other.name == from.name {
				others++
			}
		}
		if others >= maxNodeFeeds {
			return nil, errors.New("the node has too many feeds")
		}
	}
	replaced := false
	f.nodes[from] = func() { replaced = true; end() }
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !replaced {
			delete(f.nodes, from)
			f.state.nodeLost(from.feed)
		}
	}, nil
}

// hears notes that a registrar has told all of its seats.
func (f *feeds) hears(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heard == nil {
		return // nobody waits any more
	}
	f.heard[key] = true
	close(f.change)
	f.change = make(chan struct{})
}

// awaitAll waits until all nodes that Consul has were heard, or for firstFeeds. Before
// that, a brain does not know which seats there are.
func (f *feeds) awaitAll(ctx context.Context, fleet Fleet) {
	ctx, stop := context.WithCancel(ctx)
	listed := make(chan []wire.Node, 1)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() {
		fleet.WatchNodes(ctx, func(nodes []wire.Node) {
			select {
			case listed <- nodes:
			default: // only the first list counts
			}
		})
	})
	var nodes []wire.Node
	select {
	case nodes = <-listed:
		f.state.nodesAre(nodes)
	case <-ctx.Done():
		return
	}
	late := time.NewTimer(firstFeeds)
	defer late.Stop()
	for {
		f.mu.Lock()
		missing := slices.ContainsFunc(nodes, func(n wire.Node) bool { return n.Healthy && !f.heard[n.Key] })
		change := f.change
		f.mu.Unlock()
		if missing {
			select {
			case <-change:
				continue
			case <-late.C:
			case <-ctx.Done():
				return
			}
		}
		f.state.seatsAreKnown()
		f.mu.Lock()
		f.heard = nil
		f.mu.Unlock()
		return
	}
}
