package brain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// growthFor is how long the autoscaler's word counts on whether a pool may get nodes. It repeats it every
	// 15 s, and less often while it changes a group.
	growthFor = 3 * time.Minute
	// notTold is how long after its start a brain takes it that nodes may come, as the autoscaler may
	// not have told it yet.
	notTold = 45 * time.Second
	// maxNodeWait bounds what the autoscaler says: a ticket may be renewed for an hour.
	maxNodeWait = 30 * time.Minute
	// nodelessFor is how long an app may have no seat that waits for a node, and still counts as one whose people
	// wait: such a seat is replaced while they wait, see maxBlocked.
	nodelessFor = time.Minute
	// nodeEstimate is how exactly people are told when a node is expected.
	nodeEstimate = 10 * time.Second
)

// growth is a word of the autoscaler on some pools.
type growth struct {
	wire.Growth
	until time.Time
}

// nodeless is since when no seat of an app has had a node, while seats wait for one. A seat on a node ends it.
type nodeless struct{ since, last time.Time }

// postGrowth serves wire.GrowthPath.
func (b *Broker) postGrowth(rw http.ResponseWriter, r *http.Request) {
	var said wire.Growth
	err := json.NewDecoder(io.LimitReader(r.Body, wire.MaxGrowth)).Decode(&said)
	if err == nil && (len(said.Pools) == 0 || said.Wait < 0 || said.Ready < 0) {
		err = fmt.Errorf("name the pools, and how long people wait for a node")
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	b.state.growthSaid(said)
	rw.WriteHeader(http.StatusNoContent)
}

func (st *state) growthSaid(said wire.Growth) {
	st.mu.Lock()
	defer st.mu.Unlock()
	key := fmt.Sprint(said.Pools)
	if _, known := st.growths[key]; !known && len(st.growths) >= maxSpares {
		clear(st.growths) // pools that are gone
	}
	st.growths[key] = growth{said, st.now().Add(growthFor)}
}

// nodelessNow reports whether no seat of an app has a node, and no node can take one.
func (a *appView) nodelessNow() bool { return a.counts.blocked > 0 && a.total() == a.counts.blocked }

// nodeWait is what people of an app may expect of whom no seat has a node.
type nodeWait struct {
	waits bool
	told  bool  // the autoscaler said that a node may come
	left  int64 // milliseconds until it is ready, -1 where nobody knows
}

// awaitsNode says whether people wait for a node, as the app has no seat on one. mu is held.
func (st *state) awaitsNode(a *appView, now time.Time) nodeWait {
	no := nodeWait{left: -1}
	if !a.nodelessNow() {
		return no
	}
	if a.nodeless.since.IsZero() || now.Sub(a.nodeless.last) > nodelessFor {
		a.nodeless.since = now
	}
	a.nodeless.last = now
	var wait, ready time.Duration
	told := false
	for _, g := range st.growths {
		if !now.Before(g.until) || !slices.Contains(g.Pools, cmp.Or(a.app.Pool, defaultPool)) {
			continue
		}
		told = true
		wait = max(wait, time.Duration(min(g.Wait, maxNodeWait.Milliseconds()))*time.Millisecond)
		ready = max(ready, time.Duration(min(g.Ready, maxNodeWait.Milliseconds()))*time.Millisecond)
	}
	passed := now.Sub(a.nodeless.since)
	if !told {
		no.waits = now.Sub(st.started) < notTold
		return no
	}
	if passed >= wait {
		return no
	}
	out := nodeWait{waits: true, told: true, left: -1}
	if left := ready + a.coldStarts.median() - passed; left > 0 {
		out.left = ((left + nodeEstimate - 1) / nodeEstimate * nodeEstimate).Milliseconds()
	}
	return out
}
