package brain

import (
	"cmp"
	"fmt"
	"maps"
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
	// unfitFor is how long a job may exclude all nodes that are there, and people wait still: a node that starts may
	// be in Nomad's list a moment before its driver is.
	unfitFor = 2 * time.Minute
	// gaveUpFor is how long nobody waits for a node for an app for which somebody waited in vain.
	gaveUpFor = 30 * time.Minute
	// maxNodeStart bounds what routers are told: they take no start for real that is longer than 1000 s.
	maxNodeStart = 15 * time.Minute
	// nodeEstimate is how exactly people are told when a node is expected.
	nodeEstimate = 10 * time.Second
)

// growth is a word of the autoscaler on some pools.
type growth struct {
	wire.Growth
	since, at, until time.Time // since when it says that nodes may come, said last, and how long it counts
}

// nodeless is what is known of an app of which no seat has a node, while seats wait for one. A seat on a node ends it.
type nodeless struct {
	seats, people stretch   // since when its seats, and people at this brain, wait
	unfit         stretch   // since when its job excludes all nodes that are there
	gaveUp        time.Time // when people of a version had waited in vain
	version       uint64
}

// stretch is a time that goes on while it is seen again and again.
type stretch struct{ since, last time.Time }

func (s *stretch) seen(now time.Time) {
	if s.since.IsZero() || now.Sub(s.last) > nodelessFor {
		s.since = now
	}
	s.last = now
}

// lasts is how long it has gone on, 0 where it is over.
func (s *stretch) lasts(now time.Time) time.Duration {
	if s.since.IsZero() || now.Sub(s.last) > nodelessFor {
		return 0
	}
	return now.Sub(s.since)
}

// postGrowth serves wire.GrowthPath.
func (b *Broker) postGrowth(rw http.ResponseWriter, r *http.Request) {
	good := func(said wire.Growth) bool {
		return len(said.Pools) > 0 && said.Wait >= 0 && said.Ready >= 0 && said.Hopeless >= 0
	}
	told(rw, r, wire.MaxGrowth, good, "name the pools, and how long people wait for a node", b.state.growthSaid)
}

func (st *state) growthSaid(said wire.Growth) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	maps.DeleteFunc(st.growths, func(_ string, g growth) bool { return !now.Before(g.until) })
	key := fmt.Sprint(said.Policy, said.Pools)
	before, known := st.growths[key]
	if !known && len(st.growths) >= maxSpares {
		clear(st.growths) // pools that are gone
	}
	g := growth{said, now, now, now.Add(growthFor)}
	if before.Wait > 0 {
		g.since = before.since
	}
	st.growths[key] = g
}

// nodelessNow reports whether no seat of an app has a node, and no node can take one.
func (a *appView) nodelessNow() bool { return a.counts.blocked > 0 && a.total() == a.counts.blocked }

// noteNoNode notes since when an app has no seat on a node, and people at this brain wait for one, and when they have waited in
// vain. It is called after each change, and once a second. mu is held.
func (st *state) noteNoNode(id string, now time.Time) {
	a := st.view.apps[id]
	if a == nil || !a.nodelessNow() {
		return
	}
	n := &a.nodeless
	n.seats.seen(now)
	if l := st.lines[id]; l != nil && l.own > 0 {
		n.people.seen(now)
	}
	if a.app.Pool == allPools || !a.allUnfit() { // nodes of another pool may be other nodes
		n.unfit = stretch{}
	} else {
		n.unfit.seen(now)
	}
	if w := st.awaitsNode(a, now); w.late && !w.waits {
		n.gaveUp, n.version = now, a.app.Version
	}
}

// nodeWait is what people of an app may expect of whom no seat has a node.
type nodeWait struct {
	waits bool
	told  bool  // the autoscaler said that a node may come
	late  bool  // they have waited for as long as it said
	left  int64 // milliseconds until it is ready, -1 where nobody knows
	most  int64 // milliseconds that people wait at most, where it told
}

// awaitsNode says whether people wait for a node, as the app has no seat on one. It changes nothing. mu is held.
func (st *state) awaitsNode(a *appView, now time.Time) nodeWait {
	n := a.nodeless
	if !a.nodelessNow() || n.unfit.lasts(now) >= unfitFor {
		return nodeWait{left: -1}
	}
	return st.nodeFor(a, now.Add(-n.people.lasts(now)), now)
}

// allUnfit reports whether the job of an app excludes all nodes that are there.
func (a *appView) allUnfit() bool {
	for u := range a.noNode {
		if !u.child.Unfit {
			return false
		}
	}
	return len(a.noNode) > 0
}

// nodeFor is what people of an app may expect who wait for a node since then. mu is held.
func (st *state) nodeFor(a *appView, from, now time.Time) nodeWait {
	n, out := a.nodeless, nodeWait{left: -1}
	gaveUp := !n.gaveUp.IsZero() && n.version == a.app.Version && now.Sub(n.gaveUp) < gaveUpFor
	for _, g := range st.growths {
		if !now.Before(g.until) || !slices.Contains(g.Pools, cmp.Or(a.app.Pool, defaultPool)) {
			continue
		}
		out.told = true
		hopeless := g.Hopeless > 0 && !n.seats.since.IsZero() && now.Sub(n.seats.since) > time.Duration(g.Hopeless)*time.Millisecond+now.Sub(g.at)
		if g.Wait == 0 || hopeless || gaveUp && !g.since.After(n.gaveUp) {
			continue
		}
		since := from
		if g.since.After(since) {
			since = g.since
		}
		most := time.Duration(min(g.Wait, maxNodeWait.Milliseconds())) * time.Millisecond
		if now.Sub(since) >= most {
			out.late = true
			continue
		}
		out.waits, out.most = true, max(out.most, most.Milliseconds())
		left := time.Duration(min(g.Ready, maxNodeWait.Milliseconds()))*time.Millisecond - now.Sub(g.at)
		if g.Ready == 0 || left <= 0 {
			continue
		}
		left = (left + a.coldStarts.median() + nodeEstimate - 1) / nodeEstimate * nodeEstimate
		if out.left < 0 || left.Milliseconds() < out.left {
			out.left = left.Milliseconds()
		}
	}
	if !out.told {
		out.waits = now.Sub(st.started) < notTold
	}
	return out
}

// nodeStart is in how many milliseconds somebody who comes to an app has a seat, as no node is there for the first one;
// 0 where one is, or may be. mu is held.
func (st *state) nodeStart(a *appView, now time.Time) int64 {
	var n nodeWait
	switch {
	case a.nodelessNow():
		n = st.awaitsNode(a, now)
	case a.total() == 0 && len(st.view.nodes) == 0:
		n = st.nodeFor(a, now, now)
	}
	switch {
	case !n.waits || !n.told:
		return 0
	case n.left > 0:
		return min(n.left, maxNodeStart.Milliseconds())
	}
	return min(n.most, maxNodeStart.Milliseconds())
}
