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
	// spareFor is how long the autoscaler's word counts that a pool needs fewer nodes: it repeats it.
	spareFor = time.Minute
	// emptyEvery is the least time between two nodes of a pool that are emptied.
	emptyEvery = 30 * time.Second
	// emptyAgain is how long a pool is left alone in which a node that was emptied has seats
	// again: Nomad had no room for them elsewhere, and to try again would only cost warm seats.
	emptyAgain = 10 * time.Minute
	// movingFor is how long a seat that was retired for its node may take until Nomad says that
	// it is dead.
	movingFor = 30 * time.Second
	// maxSpares bounds what is remembered of pools.
	maxSpares = 100
)

// spare is a word of the autoscaler: the people of a pool need fewer nodes than it has. Nodes are
// removed only while they are empty, and a node with an idle seat is not. So the leader retires
// the seats of nodes on which nobody plays, one node after another, until no more nodes have
// seats than the pool is to have. Their apps' pools are filled again once Nomad says that the
// seats are dead, and Nomad fills the nodes that have seats first.
type spare struct {
	wire.Spare
	until   time.Time
	emptied map[string]time.Time // by node
	last    time.Time            // when a node was emptied last
	failed  time.Time            // when a node that was emptied had seats again
	looked  time.Time
}

// postSpare serves wire.SparePath.
func (b *Broker) postSpare(rw http.ResponseWriter, r *http.Request) {
	var said wire.Spare
	err := json.NewDecoder(io.LimitReader(r.Body, wire.MaxSpare)).Decode(&said)
	if err == nil && (len(said.Pools) == 0 || said.Nodes < 0) {
		err = fmt.Errorf("name the pools, and how many nodes they are to have")
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	b.state.spareSaid(said)
	rw.WriteHeader(http.StatusNoContent)
}

func (st *state) spareSaid(said wire.Spare) {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	key := fmt.Sprint(said.Pools)
	s := st.spares[key]
	if s == nil {
		if len(st.spares) >= maxSpares {
			clear(st.spares) // pools that are gone
		}
		s = &spare{emptied: map[string]time.Time{}}
		st.spares[key] = s
	}
	s.Spare, s.until = said, now.Add(spareFor)
}

// inUse is what a node carries.
type inUse struct {
	name  string
	of    bool    // one of the apps is of the pool
	needs bool    // something must stay: people, seats on their way or just idle, other apps
	idle  []*unit // the others
}

// toEmpty are the seats that are retired so that their node can be removed. mu is held.
func (st *state) toEmpty(now time.Time) (retire []*unit) {
	for _, s := range st.spares {
		if !st.leading || now.After(s.until) || now.Sub(s.last) < emptyEvery || now.Sub(s.failed) < emptyAgain || now.Sub(s.looked) < planEvery {
			continue
		}
		s.looked = now
		nodes := st.inUse(s.Pools, now)
		for name, at := range s.emptied {
			switch {
			case now.Sub(at) > emptyAgain:
				delete(s.emptied, name)
			case nodes[name] != nil && now.Sub(at) > movingFor:
				s.failed = now
				st.log.Warn("a node that was emptied has seats again: no other node has room for them, so no node is emptied for a while",
					"node", name, "pools", s.Pools, "for", emptyAgain.String())
			}
		}
		if s.failed.Equal(now) {
			clear(s.emptied)
			continue
		}
		var best *inUse
		used := 0
		for _, n := range nodes {
			if !n.of || !s.emptied[n.name].IsZero() {
				continue
			}
			used++
			if !n.needs && (best == nil || cmp.Or(len(n.idle)-len(best.idle), cmp.Compare(n.name, best.name)) < 0) {
				best = n
			}
		}
		if best == nil || used <= max(1, s.Nodes) {
			continue
		}
		s.last, s.emptied[best.name] = now, now
		st.log.Info("a node is emptied, as its pool is to have fewer: its idle seats are retired", "node", best.name, "pools", s.Pools,
			"nodes_with_seats", used, "wanted", s.Nodes, "seats", len(best.idle))
		retire = append(retire, best.idle...)
	}
	return retire
}

// inUse is what each node carries of what Nomad placed there.
func (st *state) inUse(pools []string, now time.Time) map[string]*inUse {
	nodes := map[string]*inUse{}
	for _, u := range st.view.units {
		if u.child.Node == "" {
			continue // Nomad has not placed it
		}
		n := nodes[u.child.Node]
		if n == nil {
			n = &inUse{name: u.child.Node}
			nodes[n.name] = n
		}
		ours := slices.Contains(pools, cmp.Or(u.of.app.Pool, defaultPool))
		n.of = n.of || ours
		free := ours && u.spot.free && !u.spot.lent && u.seat.State == wire.SeatIdle && now.Sub(u.seat.since) >= surplusAge
		// What a person waits for is theirs.
		if !free || st.lines[u.child.App].count(u.of.app.Version, now).people > 0 {
			n.needs = true
			continue
		}
		n.idle = append(n.idle, u)
	}
	return nodes
}

// movingNow is how many seats of an app were retired for their nodes and are not dead yet: the pool
// waits for that, or Nomad would place the next one on the same node.
func (a *appView) movingNow(now time.Time) int {
	for u, at := range a.moving {
		if now.Sub(at) > movingFor || !a.units[u] || u.spot.class == classBusy {
			delete(a.moving, u)
		}
	}
	return len(a.moving)
}
