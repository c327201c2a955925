package brain

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// getDemand serves wire.DemandPath.
func (b *Broker) getDemand(rw http.ResponseWriter, _ *http.Request) {
	d := b.state.demand()
	d.Brain = b.cfg.ID
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(d)
}

// demand is what is known of people and seats, for the autoscaler.
func (st *state) demand() wire.Demand {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.now()
	d := wire.Demand{Site: st.site, Known: st.view.known() && !st.view.deaf(), Apps: []wire.AppDemand{}}
	for id, a := range st.view.apps {
		a.turnover.forward(a.counts.busy, now)
		one := wire.AppDemand{
			App: id, Pool: cmp.Or(a.app.Pool, defaultPool), Busy: a.counts.busy + a.leavers(), Idle: a.idle + a.old,
			Starting: len(a.coming), Queued: st.lines[id].count(a.app.Version, now).people, Blocked: a.counts.blocked,
			Warm: a.aim(), Max: a.app.Max, Played: int64(1000 * a.turnover.played), Ended: a.turnover.ended, Sessions: a.sessionLengths.lengths(), Starts: a.coldStarts.lengths(),
		}
		for _, window := range arrivalWindows {
			one.Arrivals = append(one.Arrivals, a.arrivals.within(window, now.Sub(st.started), now))
		}
		d.Apps = append(d.Apps, one)
	}
	slices.SortFunc(d.Apps, func(a, b wire.AppDemand) int { return cmp.Compare(a.App, b.App) })
	return d
}

// leavers are the people whose seat is ending, or whose node is not heard any more. A seat that retires, or was idle
// when its node was heard last, has nobody.
func (a *appView) leavers() (n int) {
	if a.ending == 0 {
		return 0
	}
	for u := range a.units {
		if u.spot.class == classEnding && (u.served() || u.seat != nil && u.seat.Session != "") {
			n++
		}
	}
	return n
}

// deaf reports whether seats run and no node is heard: what is known of them becomes untrue.
func (v *view) deaf() bool {
	for _, n := range v.nodes {
		if n.lost.IsZero() {
			return false
		}
	}
	for _, u := range v.units {
		if u.child.State == ChildRunning {
			return true
		}
	}
	return false
}

// defaultPool is Nomad's name of the node pool of a job that names none.
const defaultPool = "default"

// arrived counts a person who has come to this replica, once. mu is held.
func (st *state) arrived(session, app string, now time.Time) {
	a := st.view.apps[app]
	if a == nil || st.view.seatOf(session) != nil || !st.came.note(session, now) {
		return
	}
	a.arrivals.add(now)
}

// newFor is how old a ticket's first issue may be when its person comes for the first time,
// unless they rested before Play. Somebody who comes later came to a brain before.
const newFor = time.Minute

// comers are the sessions of the people who came, and when, for as long as their tickets may be
// renewed: a person whose connection was lost and who connects again is not a second person.
type comers struct {
	at    map[string]time.Time
	swept time.Time
}

// maxComers bounds comers. Beyond it, a person who connects again counts again.
const maxComers = 100_000

// note notes a session, and reports whether it is new.
func (c *comers) note(session string, now time.Time) bool {
	if _, known := c.at[session]; known {
		return false
	}
	if len(c.at) < maxComers {
		c.at[session] = now
	}
	return true
}

// forget drops, once a minute, the sessions whose tickets nobody takes any more.
func (c *comers) forget(now time.Time) {
	if passed := now.Sub(c.swept); passed >= 0 && passed < time.Minute {
		return
	}
	c.swept = now
	maps.DeleteFunc(c.at, func(_ string, at time.Time) bool { return now.Sub(at) > ticket.MaxWait+ticket.TTL })
}

// lengths is what was measured, for other processes.
func (d *durations) lengths() wire.Lengths {
	known := slices.Sorted(slices.Values(d.last[:min(d.n, len(d.last))]))
	if len(known) == 0 {
		return wire.Lengths{}
	}
	at := func(share float64) int64 {
		return known[min(len(known)-1, int(share*float64(len(known))))].Milliseconds()
	}
	return wire.Lengths{Count: len(known), Mean: d.mean().Milliseconds(), P50: at(.5), P90: at(.9)}
}
