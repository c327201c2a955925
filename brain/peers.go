package brain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// queuesPath tells how many people wait at a replica: a JSON object of numbers
// by app. Replicas ask one another, and nobody else needs to.
const queuesPath = "/v1/queues"

const (
	countEvery  = 250 * time.Millisecond
	countWithin = 500 * time.Millisecond
)

// getQueues serves queuesPath.
func (b *Broker) getQueues(rw http.ResponseWriter, _ *http.Request) {
	b.mu.Lock()
	counts := make(map[string]int, len(b.queues))
	for app, q := range b.queues {
		counts[app] = q.people()
	}
	b.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(counts)
}

// countLoop counts who waits at the other replicas while this one leads. It asks
// them: a queue that stood in Consul would cost a write through Raft whenever
// anybody comes or goes, and would outlive a replica that was killed.
func (b *Broker) countLoop(ctx context.Context) {
	var (
		mu       sync.Mutex
		brains   []wire.Instance
		watching sync.WaitGroup
	)
	defer watching.Wait()
	watching.Go(func() {
		b.cfg.Fleet.WatchBrains(ctx, func(list []wire.Instance) {
			mu.Lock()
			defer mu.Unlock()
			brains = list
		})
	})
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: countWithin}).DialContext, IdleConnTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: countWithin}
	defer b.setPeerQueues(map[string]map[string]int{})
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
		var (
			all    sync.WaitGroup
			counts = make(map[string]map[string]int, len(list))
		)
		for _, other := range list {
			if other.ID == b.cfg.ID || !other.Healthy {
				continue
			}
			all.Go(func() {
				got, err := askQueues(ctx, client, other.Address)
				if err != nil {
					if ctx.Err() == nil {
						b.log.Debug("count who waits at another brain", "brain", other.ID, "error", err)
					}
					return // who does not answer serves nobody
				}
				mu.Lock()
				defer mu.Unlock()
				counts[other.ID] = got
			})
		}
		all.Wait()
		b.setPeerQueues(counts)
	}
}

func (b *Broker) setPeerQueues(counts map[string]map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peerQueues = counts
}

func askQueues(ctx context.Context, client *http.Client, address string) (map[string]int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+queuesPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	var counts map[string]int
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&counts); err != nil {
		return nil, fmt.Errorf("read its queues: %w", err)
	}
	return counts, nil
}
