package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/serf/coordinate"

	"github.com/nearcast/nearcast/router/placement/probe"
)

// Consul's WAN gossip probes one peer each 5 s; so many probes are some minutes.
const gossipRounds = 120

// vivaldi lets the sites find their coordinates as Consul does: each in turn
// probes another at random.
func vivaldi(w *world, rnd *rand.Rand) []*coordinate.Coordinate {
	n := len(w.sites)
	clients := make([]*coordinate.Client, n)
	for i := range clients {
		clients[i] = newClient(rnd)
	}
	for range gossipRounds {
		for i := range clients {
			j := rnd.IntN(n)
			rtt := w.data.between(w.sites[i], w.sites[j])
			if i == j || math.IsNaN(rtt) {
				continue
			}
			// Servers are in data centres: little jitter.
			update(clients[i], w.names[j], clients[j].GetCoordinate(), rtt+rnd.ExpFloat64())
		}
	}
	out := make([]*coordinate.Coordinate, n)
	for i, c := range clients {
		out[i] = c.GetCoordinate()
	}
	return out
}

// newClient starts slightly off the origin: Serf separates two coordinates that
// coincide by its own random numbers, which no seed controls.
func newClient(rnd *rand.Rand) *coordinate.Client {
	config := coordinate.DefaultConfig()
	c, err := coordinate.NewClient(config)
	if err != nil {
		panic(err) // the default config is one
	}
	start := coordinate.NewCoordinate(config)
	for i := range start.Vec {
		start.Vec[i] = (rnd.Float64() - 0.5) * 1e-4
	}
	if err := c.SetCoordinate(start); err != nil {
		panic(err) // it is of the config's kind
	}
	return c
}

// update teaches a client one round trip. Coordinates that Serf refuses (a round
// trip over 10 s) teach nothing, as in production.
func update(c *coordinate.Client, node string, other *coordinate.Coordinate, ms float64) {
	_, _ = c.Update(node, other, time.Duration(ms*float64(time.Millisecond)))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// spread is how far a coordinate distance may be off, in milliseconds: the
// clients' own relative error, of the distance.
func spread(a, b *coordinate.Coordinate) float64 {
	return math.Hypot(a.Error, b.Error) * millis(a.DistanceTo(b))
}

// coordinates gives the world what routers know from coordinates.
func (w *world) coordinates(rnd *rand.Rand) []*coordinate.Coordinate {
	coords := vivaldi(w, rnd)
	w.know("vivaldi", func(a, b int) (float64, float64) {
		return millis(coords[a].DistanceTo(coords[b])), spread(coords[a], coords[b])
	})
	return coords
}

// measured gives the world what routers know from asking each other's beacons.
func (w *world) measured() {
	w.know("measured", func(a, b int) (float64, float64) { return w.data.rtt[w.sites[a]][w.sites[b]], 0 })
}

func (w *world) know(how string, between probe.Between) {
	model, err := probe.New(w.names, between)
	if err != nil {
		panic(err) // the names are our own
	}
	w.known[how] = &knowledge{between: between, model: model}
}

// fit finds the person's own coordinate from what they measured to a few sites:
// the same arithmetic, fed the same few answers until it settles.
func fit(coords []*coordinate.Coordinate, names []string, sites []int, rtt []float64, rnd *rand.Rand) *coordinate.Coordinate {
	c := newClient(rnd)
	const settle = 60
	for range settle {
		for k, i := range sites {
			update(c, names[i], coords[i], rtt[k])
		}
	}
	return c.GetCoordinate()
}
