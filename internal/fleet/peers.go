package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/identity"
)

const (
	// peersFresh is how long a key counts without asking again: a process that ended
	// may have had it.
	peersFresh = time.Minute
	// peersEvery is the least time between two questions to Consul, however many
	// strangers connect.
	peersEvery = 250 * time.Millisecond
	peersTime  = 2 * time.Second
)

// Peers knows which processes of some services have registered which keys. It asks Consul
// when it sees a key for the first time, and about once a minute after that. While Consul
// does not answer, the keys that it knows go on counting. It may be used by many
// goroutines at once.
type Peers struct {
	fleet    *Fleet
	services []string
	turn     chan struct{} // held by who asks

	mu    sync.Mutex
	known map[string]identity.Peer
	asked time.Time // the question was sent whose answer is known
}

// Peers are the processes of these services at the site.
func (f *Fleet) Peers(services ...string) *Peers {
	return &Peers{fleet: f, services: services, turn: make(chan struct{}, 1), known: map[string]identity.Peer{}}
}

// Peer implements identity.Peers.
func (p *Peers) Peer(ctx context.Context, key string) (identity.Peer, error) {
	came := time.Now()
	peer, ok, asked := p.look(key)
	if ok && came.Sub(asked) < peersFresh {
		return peer, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return peer, ctx.Err()
	}
	// All who came before one question share its answer.
	if peer, ok, asked = p.look(key); asked.Before(came) && (!ok || came.Sub(asked) >= peersFresh) {
		if !sleep(ctx, time.Until(asked.Add(peersEvery))) {
			return peer, ctx.Err()
		}
		if err := p.ask(ctx); err != nil && !ok {
			return peer, fmt.Errorf("find who has a key: %w", err)
		} else if err == nil {
			peer, ok, _ = p.look(key)
		}
	}
	if !ok {
		return peer, fmt.Errorf("%w: its key stands with none of %v in Consul", identity.ErrStranger, p.services)
	}
	return peer, nil
}

func (p *Peers) look(key string) (peer identity.Peer, ok bool, asked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	peer, ok = p.known[key]
	return peer, ok, p.asked
}

func (p *Peers) ask(ctx context.Context) error {
	// Not of the caller: others wait for the answer, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), peersTime)
	defer cancel()
	asked, known := time.Now(), map[string]identity.Peer{}
	for _, service := range p.services {
		// The agent keeps the list for all seats of its node.
		entries, _, err := p.fleet.consul.Health().Service(service, "", false, (&api.QueryOptions{UseCache: true}).WithContext(ctx))
		if err != nil {
			return fmt.Errorf("list %s: %w", service, err)
		}
		for _, entry := range entries {
			if key := entry.Service.Meta["key"]; key != "" {
				known[key] = identity.Peer{Service: service, ID: entry.Service.ID, Node: entry.Node.Node}
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.asked = known, asked
	return nil
}
