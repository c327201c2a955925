package brain

import (
	"cmp"
	"encoding/json"
	"errors"
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
	// emptyAgain is how long a pool is left alone in which a node that was emptied was filled
	// again: Nomad had no room elsewhere, and to try again would only cost warm seats.
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
	emptied map[string]emptied // by node
	last    time.Time          // when a node was emptied last
	failed  time.Time          // when a node that was emptied was filled again
	looked  time.Time
}

// emptied is what was done to a node.
type emptied struct {
	at      time.Time
	retired []*unit
}

// postSpare serves wire.SparePath.
func (b *Broker) postSpare(rw http.ResponseWriter, r *http.Request) {
	good := func(said wire.Spare) bool { return len(said.Pools) > 0 && said.Nodes >= 0 }
	told(rw, r, wire.MaxSpare, good, "name the pools, and how many nodes they are to have", b.state.spareSaid)
}

// told takes what the autoscaler tells of a pool, or answers that it is not good, and what it should be.
func told[T any](rw http.ResponseWriter, r *http.Request, most int64, good func(T) bool, should string, take func(T)) {
	var said T
	err := json.NewDecoder(io.LimitReader(r.Body, most)).Decode(&said)
	if err == nil && !good(said) {
		err = errors.New(should)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	take(said)
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
		s = &spare{emptied: map[string]emptied{}}
		st.spares[key] = s
	}
	s.Spare, s.until = said, now.Add(spareFor)
}

// inUse is what a node carries.
type inUse struct {
	name    string
	ours    []*unit // of apps of the pool
	foreign bool    // it has apps of another pool, and so is no node of this one
	stays   bool    // not all of it is ending
	needs   bool    // something must stay: people, seats on their way or just idle
	idle    []*unit // the others of ours
}

// filledSince reports whether the node has a seat that was dispatched for the warm pool after
// a time. One that a person waited for says nothing: people come.
func (n *inUse) filledSince(at time.Time) bool {
	return slices.ContainsFunc(n.ours, func(u *unit) bool {
		switch u.spot.class {
		case classIdle, classOld, classStarting, classForeign:
			return !u.seen.Before(at) && sessionOf(u.child.Token) == ""
		}
		return false
	})
}

// toEmpty are the seats that are retired so that their node can be removed. mu is held.
func (st *state) toEmpty(now time.Time) (retire []*unit) {
	for _, s := range st.spares {
		if !st.leading || now.After(s.until) || now.Sub(s.last) < emptyEvery || now.Sub(s.failed) < emptyAgain || now.Sub(s.looked) < planEvery {
			continue
		}
		s.looked = now
		nodes := st.inUse(s.Pools, now)
		for name, e := range s.emptied {
			n := nodes[name]
			switch {
			case now.Sub(e.at) > emptyAgain:
				delete(s.emptied, name)
			case n == nil || !n.stays || now.Sub(e.at) <= movingFor:
			case n.filledSince(e.at):
				s.failed = now
				st.log.Warn("a node that was emptied is filled again: no other node has room for warm seats, so no node is emptied for a while",
					"node", name, "pools", s.Pools, "for", emptyAgain.String())
			default:
				delete(s.emptied, name) // a seat did not end, or people came: it has seats as before
			}
		}
		if s.failed.Equal(now) {
			clear(s.emptied)
			continue
		}
		var best *inUse
		used := 0
		for _, n := range nodes {
			if _, done := s.emptied[n.name]; done || n.foreign {
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
		s.last, s.emptied[best.name] = now, emptied{now, best.idle}
		st.log.Info("a node is emptied, as its pool is to have fewer: its idle seats are retired", "node", best.name, "pools", s.Pools,
			"nodes_with_seats", used, "wanted", s.Nodes, "seats", len(best.idle))
		retire = append(retire, best.idle...)
	}
	return retire
}

// keptOn notes that a seat declined to retire, because somebody has it now: its node has seats
// as before.
func (st *state) keptOn(alloc string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	u := st.view.byAlloc[alloc]
	if u == nil {
		return
	}
	delete(u.of.moving, u)
	st.plans[u.of.app.ID] = true
	for _, s := range st.spares {
		for name, e := range s.emptied {
			if slices.Contains(e.retired, u) {
				delete(s.emptied, name)
			}
		}
	}
}

// inUse is what each node carries of what Nomad placed there. Of which pool a node is, only its
// apps tell: one of the pool "all" may be on a node of any.
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
		n.stays = n.stays || u.spot.class != classEnding
		if !slices.Contains(pools, cmp.Or(u.of.app.Pool, defaultPool)) {
			n.foreign = true
			continue
		}
		n.ours = append(n.ours, u)
		free := u.spot.free && !u.spot.lent && u.seat.State == wire.SeatIdle && now.Sub(u.seat.since) >= surplusAge
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
