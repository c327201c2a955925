package brain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// sizesEvery is how often the sizes of the nodes are looked up while a seat finds no node.
const sizesEvery = 30 * time.Second

// Size is what a node has for seats, or a seat wants. Zero is not known.
type Size struct{ MHz, MemoryMB int }

// sized is a node, as far as it matters for whether a seat ever fits there.
type sized struct {
	pool string // "" is not known
	Size
}

// nodesAre takes the nodes that Consul has.
func (st *state) nodesAre(nodes []wire.Node) {
	var sizes []sized
	for _, n := range nodes {
		if n.Healthy && (n.MHz > 0 || n.MemoryMB > 0) { // one that does not say says nothing of the others
			sizes = append(sizes, sized{n.Pool, Size{n.MHz, n.MemoryMB}})
		}
	}
	slices.SortFunc(sizes, func(a, b sized) int {
		return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.MHz, b.MHz), cmp.Compare(a.MemoryMB, b.MemoryMB))
	})
	sizes = slices.Compact(sizes)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.sizes = sizes
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

// allPools is the node pool of a job that takes nodes of every pool.
const allPools = "all"

// tooLarge is why no node of the app's pool can ever have a seat of it; nil where one could, or
// the pool has no node, which may come.
func (a App) tooLarge(nodes []sized) *wire.End {
	var sizes []Size
	for _, n := range nodes {
		if n.pool == "" || a.Pool == "" || a.Pool == allPools || n.pool == a.Pool {
			sizes = append(sizes, n.Size)
		}
	}
	if why := a.Misfit(sizes); why != "" {
		return &wire.End{Reason: wire.ReasonError, Code: wire.CodeTooLarge, Detail: "no node is large enough: " + why}
	}
	return nil
}

// Misfit is why a seat of the app fits on no node of such sizes; "" where it fits on one, or
// there is none.
func (a App) Misfit(nodes []Size) string {
	var most Size
	for _, n := range nodes {
		if (n.MHz == 0 || a.MHz <= n.MHz) && (n.MemoryMB == 0 || a.MemoryMB <= n.MemoryMB) {
			return ""
		}
		most = Size{max(most.MHz, n.MHz), max(most.MemoryMB, n.MemoryMB)}
	}
	var wants []string
	if a.MHz > most.MHz && most.MHz > 0 {
		wants = append(wants, fmt.Sprintf("wants %d MHz, the largest has %d", a.MHz, most.MHz))
	}
	if a.MemoryMB > most.MemoryMB && most.MemoryMB > 0 {
		wants = append(wants, fmt.Sprintf("wants %d MB of memory, the largest has %d", a.MemoryMB, most.MemoryMB))
	}
	if len(wants) == 0 && len(nodes) > 0 {
		wants = append(wants, fmt.Sprintf("wants %d MHz and %d MB of memory, and no node has both", a.MHz, a.MemoryMB))
	}
	return strings.Join(wants, "; ")
}
