package consul

import (
	"maps"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/router/reach"
)

const (
	// sampleAge is how long a distance that this router measured counts.
	sampleAge = time.Minute
	// rowAge is how long a distance that another site's router measured counts.
	rowAge = 10 * time.Minute
)

// distances are the round trips between all sites: measured ones where there
// are any, else those that Consul's coordinates predict.
type distances struct {
	rows     map[string]map[string]wire.Distance // from, to
	made     map[string]time.Time                // when each row was computed
	computed time.Time                           // when all were; zero: compute them now
}

// refresh computes the distances anew if it is time to: all, or the rows of the sites that
// told new ones. All are many, as their number grows with the square of the sites.
// predicted gives one that nobody measured.
func (d *distances) refresh(now time.Time, sites []string, reached map[string]reach.State,
	predicted func(from, to string, now time.Time) wire.Distance) {
	if now.Sub(d.computed) >= coordinatesEvery || len(d.rows) < len(sites) {
		d.computed = now
		d.rows, d.made = make(map[string]map[string]wire.Distance, len(sites)), make(map[string]time.Time, len(sites))
	}
	for _, name := range sites {
		state := reached[name]
		if at, ok := d.made[name]; ok && !state.DistancesAt.After(at) {
			continue
		}
		d.rows[name], d.made[name] = row(name, sites, state, now, predicted), now
	}
}

// row is the distances from a site. Where it has measured all others, as most have, it is
// what it told.
func row(from string, sites []string, state reach.State, now time.Time, predicted func(from, to string, now time.Time) wire.Distance) map[string]wire.Distance {
	var told map[string]wire.Distance
	if now.Sub(state.DistancesAt) < rowAge {
		told = state.Distances
	}
	out := told
	for _, to := range sites {
		if _, ok := told[to]; ok || to == from {
			continue
		}
		if len(out) == len(told) {
			if out = maps.Clone(told); out == nil {
				out = make(map[string]wire.Distance, len(sites))
			}
		}
		out[to] = predicted(from, to, now)
	}
	return out
}

// own are the distances from this router's site. A recent measurement of this
// router counts more than a prediction.
func (d *distances) own(now time.Time, own string, sites []string, reached map[string]reach.State) map[string]wire.Distance {
	out := make(map[string]wire.Distance, len(sites))
	for _, name := range sites {
		if name == own {
			continue
		}
		distance, ok := d.rows[own][name]
		if state := reached[name]; now.Sub(state.Measured) < sampleAge {
			distance, ok = wire.Distance{RTTMS: state.RTTMS, ErrorMS: state.ErrorMS, Measured: true}, true
		}
		if ok {
			out[name] = distance
		}
	}
	return out
}

// coordinatesChanged is called when Consul has given new coordinates.
func (v *View) coordinatesChanged() {
	v.mu.Lock()
	v.distances.computed = time.Time{}
	v.mu.Unlock()
	v.notify()
}
