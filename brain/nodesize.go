package brain

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// sizesEvery is how often the sizes of the nodes are looked up while a seat finds no node.
const sizesEvery = 30 * time.Second

// size is what a node has in all, or a seat wants. Zero is not known.
type size struct{ mhz, memoryMB int }

// nodesAre takes the nodes that Consul has.
func (st *state) nodesAre(nodes []wire.Node) {
	var largest size
	for _, n := range nodes {
		if n.Healthy {
			largest.mhz, largest.memoryMB = max(largest.mhz, n.MHz), max(largest.memoryMB, n.MemoryMB)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.largest = largest
	st.ports = ports{ranges: portsOf(nodes), at: st.now()}
}

// someBlocked reports whether a seat finds no node.
func (st *state) someBlocked() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, a := range st.view.apps {
		if a.counts.blocked > 0 {
			return true
		}
	}
	return false
}

func (st *state) portsWanted() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ports.wanted
}

// watchSizes looks up the nodes again while it matters how large they are, or which ports they
// have. To follow all their changes would cost more.
func (st *state) watchSizes(ctx context.Context, fleet Fleet) {
	tick := time.NewTicker(sizesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !st.someBlocked() && !st.portsWanted() {
			continue
		}
		once, cancel := context.WithTimeout(ctx, sizesEvery)
		fleet.WatchNodes(once, func(nodes []wire.Node) {
			st.nodesAre(nodes)
			cancel()
		})
		cancel()
	}
}

// tooLarge is why no node of the site can ever have a seat of an app; nil where one could.
func (a App) tooLarge(largest size) *wire.End {
	var wants []string
	if largest.mhz > 0 && a.MHz > largest.mhz {
		wants = append(wants, fmt.Sprintf("wants %d MHz, the largest has %d", a.MHz, largest.mhz))
	}
	if largest.memoryMB > 0 && a.MemoryMB > largest.memoryMB {
		wants = append(wants, fmt.Sprintf("wants %d MB of memory, the largest has %d", a.MemoryMB, largest.memoryMB))
	}
	if len(wants) == 0 {
		return nil
	}
	return &wire.End{Reason: wire.ReasonError, Code: wire.CodeTooLarge, Detail: "no node is large enough: " + strings.Join(wants, "; ")}
}
