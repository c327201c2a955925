package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/wire"
)

// feedPath is where brains take feeds, at their internal listeners.
const feedPath = wire.FeedPath

// nodeService is the service of nodes in Consul.
const nodeService = wire.NodeService

// feeds are the registrars of all nodes: each streams its seats to each brain that Consul
// knows.
type feeds struct {
	site    *site
	sources map[*node]*feed.Source[wire.Seat]
	open    atomic.Int64 // feeds that are open
	writing sync.Mutex   // of records
	failed  atomic.Value // why the last feed ended
	// dials bounds the handshakes at once: on one machine both ends of 1,875 would take the
	// time of one another until all fail.
	dials chan struct{}
	all   sync.WaitGroup

	mu     sync.Mutex
	brains []wire.Instance
	grown  chan struct{} // closed when the brains change
}

// startFeeds registers the nodes in Consul, and begins to follow the brains.
func startFeeds(s *site) (*feeds, error) {
	f := &feeds{site: s, sources: map[*node]*feed.Source[wire.Seat]{}, grown: make(chan struct{}), dials: make(chan struct{}, 64)}
	for _, n := range s.seats.nodes {
		f.sources[n] = feed.NewSource[wire.Seat]()
		if err := f.register(n, classOf(n)); err != nil {
			return nil, err
		}
	}
	s.seats.tell = func(n *node, seat wire.Seat, gone bool) {
		if gone {
			f.sources[n].Delete(seat.ID)
		} else {
			f.sources[n].Set(seat.ID, seat)
		}
	}
	watch := s.fleet.WatchInstances(s.ctx, wire.BrainService, f.found)
	f.all.Go(func() { <-watch.Done() })
	for _, n := range s.seats.nodes {
		f.all.Go(func() { f.follow(s.ctx, n) })
	}
	f.all.Go(f.classes)
	for i, n := range s.seats.nodes {
		first := s.measured * time.Duration(i+1) / time.Duration(len(s.seats.nodes)) // not all nodes at once
		f.all.Go(func() {
			for pause(s.ctx.Done(), first) {
				f.tellMeasured(n)
				first = s.measured
			}
		})
	}
	return f, nil
}

// register writes a node's record.
func (f *feeds) register(n *node, class string) error {
	n.class, n.written = class, time.Now()
	return f.site.consul.registerNode(f.site.ctx, n.name, "127.0.0.1", service{ID: nodeService + "-" + n.name, Service: nodeService,
		Meta: map[string]string{"key": n.me.Key(), "class": class, "cpu": "0.00", "memory": "0.00", "gpu": "0.00", "seats": ""}}, "passing")
}

// classes writes the records of nodes whose class of load has changed, 30 s after the last
// write at the earliest, as registrars do.
func (f *feeds) classes() {
	for pause(f.site.ctx.Done(), 5*time.Second) {
		f.writeClasses(30 * time.Second)
	}
}

// tellMeasured tells what the seats of a node that stream have measured, in one message.
func (f *feeds) tellMeasured(n *node) {
	told := map[string]wire.Seat{}
	for _, s := range n.seats {
		s.mu.Lock()
		defer s.mu.Unlock() // of all until they are told, so that none changes meanwhile
		if s.state == wire.SeatStreaming {
			s.measure(time.Now())
			told[s.id] = s.record()
		}
	}
	f.sources[n].SetBrief(told, wire.Seat.Brief)
}

// writeClasses writes the records whose class has changed and that are older than an age.
func (f *feeds) writeClasses(age time.Duration) {
	f.writing.Lock()
	defer f.writing.Unlock()
	for _, n := range f.site.seats.nodes {
		if class := classOf(n); class != n.class && time.Since(n.written) > age {
			_ = f.register(n, class) // while Consul is away, the next round writes it
		}
	}
}

// classOf takes the share of busy seats for the node's load.
func classOf(n *node) string {
	busy := 0
	for _, s := range n.seats {
		s.mu.Lock()
		if s.state.Busy() {
			busy++
		}
		s.mu.Unlock()
	}
	switch share := float64(busy) / float64(len(n.seats)); {
	case share >= 0.85:
		return "full"
	case share >= 0.6:
		return "busy"
	}
	return "calm"
}

func (f *feeds) found(list []wire.Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.brains = slices.DeleteFunc(list, func(b wire.Instance) bool { return !b.Healthy })
	close(f.grown)
	f.grown = make(chan struct{})
}

// follow keeps a feed to each brain open.
func (f *feeds) follow(ctx context.Context, n *node) {
	var all sync.WaitGroup
	defer all.Wait()
	running := map[string]context.CancelFunc{} // by the brain's key
	for ctx.Err() == nil {
		f.mu.Lock()
		brains, grown := f.brains, f.grown
		f.mu.Unlock()
		now := map[string]bool{}
		for _, b := range brains {
			now[b.Key] = true
			if running[b.Key] != nil {
				continue
			}
			one, stop := context.WithCancel(ctx)
			running[b.Key] = stop
			all.Go(func() {
				for failures := 0; one.Err() == nil; failures++ {
					began := time.Now()
					f.failed.Store(fmt.Sprint(f.stream(one, n, b))) // it is tried again
					if time.Since(began) > 10*time.Second {
						failures = 0
					}
					pause(one.Done(), min(100*time.Millisecond<<min(failures, 5), 2*time.Second))
				}
			})
		}
		for key, stop := range running {
			if !now[key] {
				stop()
				delete(running, key)
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
		}
	}
	for _, stop := range running {
		stop()
	}
}

// stream is one connection to one brain.
func (f *feeds) stream(ctx context.Context, n *node, b wire.Instance) error {
	select {
	case f.dials <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: n.me.Client(b.Key), DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return through{conn, n}, nil
		}, WriteBufferSize: 4 << 10, ReadBufferSize: 1 << 10}}
	ws, _, err := websocket.Dial(dial, "wss://"+b.Internal+feedPath, &websocket.DialOptions{HTTPClient: client})
	<-f.dials
	if err != nil {
		return fmt.Errorf("dial %s: %w", b.ID, err)
	}
	f.open.Add(1)
	defer f.open.Add(-1)
	return f.sources[n].Stream(ctx, ws)
}

// followed waits until each node has a feed to each brain.
func (f *feeds) followed(ctx context.Context) error {
	want := int64(len(f.site.seats.nodes) * len(f.site.brains))
	return until(ctx, 3*time.Minute, "all feeds are open", func() error {
		if n := f.open.Load(); n < want {
			return fmt.Errorf("%d of %d; the last that ended: %v", n, want, f.failed.Load())
		}
		return nil
	})
}

func (f *feeds) wait() { f.all.Wait() }
