package brain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

// queuesPath answers how many people wait at a replica: a JSON object of numbers
// by app. Only other replicas ask, at the internal listener.
const queuesPath = "/v1/queues"

const (
	countEvery  = 250 * time.Millisecond
	countWithin = 500 * time.Millisecond
)

// getQueues serves queuesPath.
func (b *Broker) getQueues(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(b.state.queueCounts())
}

// countLoop counts the people that wait at the other replicas, and asks these
// replicas for it. A queue in Consul would cost a write through Raft whenever a
// person comes or goes, and would outlive a replica that was killed.
func (l *leader) countLoop(ctx context.Context) {
	var (
		mu       sync.Mutex
		brains   []wire.Instance
		watching sync.WaitGroup
	)
	defer watching.Wait()
	watching.Go(func() {
		l.fleet.WatchBrains(ctx, func(list []wire.Instance) {
			mu.Lock()
			defer mu.Unlock()
			brains = list
		})
	})
	others := l.me.Clients(countWithin)
	defer others.Close()
	defer l.state.setPeerQueues(map[string]map[string]int{})
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		mu.Lock()
		list := brains
		mu.Unlock()
		l.state.setPeerQueues(l.askPeers(ctx, others, list))
	}
}

// askPeers asks all other brains how many people wait there. A brain that does
// not answer counts as gone.
func (l *leader) askPeers(ctx context.Context, others *identity.Clients, brains []wire.Instance) map[string]map[string]int {
	var (
		mu     sync.Mutex
		counts = make(map[string]map[string]int, len(brains))
		all    sync.WaitGroup
	)
	for _, peer := range brains {
		if peer.ID == l.id || !peer.Healthy {
			continue
		}
		all.Go(func() {
			got, err := askQueues(ctx, others.To(peer.Key), peer.Internal)
			if err != nil {
				if ctx.Err() == nil {
					l.log.Debug("cannot read the queues of another brain", "brain", peer.ID, "error", err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			counts[peer.ID] = got
		})
	}
	all.Wait()
	return counts
}

func askQueues(ctx context.Context, client *http.Client, address string) (map[string]int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+queuesPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status is %s", resp.Status)
	}
	var counts map[string]int
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&counts); err != nil {
		return nil, fmt.Errorf("decode queues: %w", err)
	}
	return counts, nil
}
