package brain

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"time"

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
	d := wire.Demand{Site: st.site, Known: st.view.known(), Apps: []wire.AppDemand{}}
	for id, a := range st.view.apps {
		a.turnover.forward(a.counts.busy, now)
		one := wire.AppDemand{
			App: id, Pool: cmp.Or(a.app.Pool, defaultPool), Busy: a.counts.busy + a.ending, Idle: a.idle + a.old,
			Starting: len(a.coming), Queued: st.lines[id].count(a.app.Version, now).people, Blocked: a.counts.blocked,
			Warm: a.aim(), Max: a.app.Max, Played: int64(1000 * a.turnover.played), Ended: a.turnover.ended, Sessions: a.sessionLengths.lengths(), Starts: a.coldStarts.lengths(),
		}
		for _, window := range arrivalWindows {
			one.Arrivals = append(one.Arrivals, a.arrivals.within(window, st.started, now))
		}
		d.Apps = append(d.Apps, one)
	}
	slices.SortFunc(d.Apps, func(a, b wire.AppDemand) int { return cmp.Compare(a.App, b.App) })
	return d
}

// defaultPool is Nomad's name of the node pool of a job that names none.
const defaultPool = "default"

// arrived counts a person who has come to this replica, once. mu is held.
func (st *state) arrived(session, app string, now time.Time) {
	if a := st.view.apps[app]; a != nil && st.view.seatOf(session) == nil {
		a.arrivals.add(now)
	}
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
