package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// nodeKept is how long a node stays in Consul whose registrar is silent. Its seats may
	// go on, and TURN servers relay to them: as long as a session lasts.
	nodeKept = 12 * time.Hour
	// loadEvery is the least time between two writes of a node's load.
	loadEvery = 30 * time.Second
)

// NodeRegistration keeps a stream node in Consul until its context ends. Then the record
// stays: its check fails within seconds, and the next registrar of the node takes it over.
type NodeRegistration struct {
	r *registration

	mu      sync.Mutex
	told    wire.Node
	at      time.Time // told was set
	want    wire.Node
	pending *time.Timer
	ended   bool
}

// RegisterNode puts a stream node into Consul and keeps it there. It returns at once. id
// tells registrars apart that share one Consul agent.
func (f *Fleet) RegisterNode(ctx context.Context, id string, node wire.Node) *NodeRegistration {
	n := &NodeRegistration{told: node, want: node, at: time.Now()}
	n.r = f.register(ctx, nodeRecord(wire.NodeService+"-"+id, node))
	n.r.mu.Lock()
	n.r.stay = true
	n.r.mu.Unlock()
	return n
}

// Set says what the node is now. It never blocks. Addresses are written at once; the load
// when its class changes, 30 s after the last write at the earliest.
func (n *NodeRegistration) Set(node wire.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.want = node
	switch wait := loadEvery - time.Since(n.at); {
	case n.ended:
	case !slices.Equal(node.Media, n.told.Media) || node.Key != n.told.Key:
		n.tell()
	case node.Class == n.told.Class:
		if n.pending != nil {
			n.pending.Stop()
			n.pending = nil
		}
	case wait <= 0:
		n.tell()
	case n.pending == nil:
		n.pending = time.AfterFunc(wait, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.pending = nil
			if !n.ended && n.want.Class != n.told.Class {
				n.tell()
			}
		})
	}
}

// tell writes what the node is. mu is held.
func (n *NodeRegistration) tell() {
	n.told, n.at = n.want, time.Now()
	n.r.set(nodeRecord(n.r.wanted().id, n.told))
}

// Close ends the registration. The record stays in Consul.
func (n *NodeRegistration) Close() {
	n.mu.Lock()
	n.ended = true
	if n.pending != nil {
		n.pending.Stop()
	}
	n.mu.Unlock()
	n.r.Close()
}

func nodeRecord(id string, node wire.Node) record {
	seats := make([]string, 0, len(wire.SeatStates))
	for _, state := range wire.SeatStates {
		if n := node.Seats[state]; n > 0 {
			seats = append(seats, string(state)+"="+strconv.Itoa(n))
		}
	}
	share := func(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }
	return record{id: id, name: wire.NodeService, status: api.HealthPassing, keep: nodeKept, meta: map[string]string{
		"key": node.Key, "media": cut(strings.Join(node.Media, ","), maxMeta), "class": string(node.Class), "seats": strings.Join(seats, ","),
		"cpu": share(node.CPU), "memory": share(node.Memory), "gpu": share(node.GPU),
		"gpu_memory": share(node.GPUMemory), "encoder_sessions": strconv.Itoa(node.EncoderSessions),
		"mhz": strconv.Itoa(node.MHz), "memory_mb": strconv.Itoa(node.MemoryMB), "pool": node.Pool,
	}}
}

// WatchNodes calls fn with all stream nodes of the site, sorted by name, healthy or not:
// first as soon as Consul answers, then at each change.
func (f *Fleet) WatchNodes(ctx context.Context, fn func([]wire.Node)) *Watch {
	return watch(ctx, f, wire.NodeService, f.nodes, fn)
}

// Nodes are all stream nodes of the site, as WatchNodes gives them, now.
func (f *Fleet) Nodes(ctx context.Context) ([]wire.Node, error) {
	nodes, _, err := f.nodes(f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return nodes, nil
}

func (f *Fleet) nodes(opts *api.QueryOptions) ([]wire.Node, *api.QueryMeta, error) {
	entries, meta, err := f.consul.Health().Service(wire.NodeService, "", false, opts)
	if err != nil {
		return nil, nil, err
	}
	out := make([]wire.Node, 0, len(entries))
	for _, entry := range entries {
		out = append(out, nodeOf(entry))
	}
	slices.SortFunc(out, func(a, b wire.Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key))
	})
	return out, meta, nil
}

// nodeOf reads what nodeRecord wrote. What is malformed counts as nothing: the rest is
// still of use.
func nodeOf(entry *api.ServiceEntry) wire.Node {
	m := entry.Service.Meta
	share := func(text string) float64 {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= 0 && x <= 1) {
			return 0
		}
		return x
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0
		}
		return max(n, 0)
	}
	node := wire.Node{
		Pool: m["pool"], MHz: number(m["mhz"]), MemoryMB: number(m["memory_mb"]),
		Name: entry.Node.Node, Key: m["key"], Class: wire.LoadClass(m["class"]),
		CPU: share(m["cpu"]), Memory: share(m["memory"]), GPU: share(m["gpu"]),
		GPUMemory: share(m["gpu_memory"]), EncoderSessions: number(m["encoder_sessions"]),
		Healthy: entry.Checks.AggregatedStatus() == api.HealthPassing,
	}
	if m["media"] != "" {
		node.Media = strings.Split(m["media"], ",")
	}
	for pair := range strings.SplitSeq(m["seats"], ",") {
		state, text, _ := strings.Cut(pair, "=")
		if n, err := strconv.Atoi(text); err == nil && n > 0 {
			if node.Seats == nil {
				node.Seats = map[wire.SeatState]int{}
			}
			node.Seats[wire.SeatState(state)] = n
		}
	}
	return node
}
