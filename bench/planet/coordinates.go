package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/serf/coordinate"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// coordinates compares, after -minutes, the round trips that sites know with the true
// ones.
func (b *bench) coordinates(ctx context.Context, began time.Time) error {
	for _, minutes := range b.minutes {
		if err := sleep(ctx, time.Until(began.Add(minutes))); err != nil {
			return err
		}
		if err := b.estimates(ctx, minutes); err != nil {
			return fmt.Errorf("measure coordinates after %v: %w", minutes, err)
		}
		say("coordinates after %v are measured", minutes)
	}
	return nil
}

// estimate is what a source says about the round trips of all pairs, and how wrong it is.
type estimate struct {
	off, percent, claim []float64
	measured            float64 // how many pairs a router measured
}

func (b *estimate) add(said wire.Distance, true float64) {
	if said.RTTMS <= 0 {
		return // not known yet
	}
	off := math.Abs(said.RTTMS - true)
	b.off, b.percent, b.claim = append(b.off, off), append(b.percent, 100*off/true), append(b.claim, said.ErrorMS)
	if said.Measured {
		b.measured++
	}
}

func (b *bench) estimates(ctx context.Context, after time.Duration) error {
	var consul, router estimate
	for _, at := range b.sites {
		coordinates, err := b.coordinateMap(ctx, at)
		if err != nil {
			return err
		}
		seen, err := b.sitesSeen(ctx, at)
		if err != nil {
			return err
		}
		for _, from := range seen.Sites {
			for to, said := range from.Distances {
				if from.Site >= to { // each pair once
					continue
				}
				rtt, err := b.rtt(from.Site, to)
				if err != nil {
					return err
				}
				router.add(said, rtt)
				consul.add(coordinates.Distance(from.Site, to, time.Now()), rtt)
			}
		}
	}
	for source, said := range []estimate{consul, router} {
		labels := map[string]any{"minutes": after.Minutes(), "source": []string{"consul", "router"}[source]}
		if err := errors.Join(
			b.report.Line("coordinate_error", "ms", said.off, labels),
			b.report.Line("coordinate_error", "%", said.percent, labels),
			b.report.Line("coordinate_claim", "ms", said.claim, labels),
		); err != nil {
			return err
		}
	}
	return b.report.Value("coordinate_measured", "share", router.measured/float64(max(1, len(router.off))),
		map[string]any{"minutes": after.Minutes(), "source": "router"})
}

// coordinateMap is what a site's Consul knows about all sites now.
func (b *bench) coordinateMap(ctx context.Context, at string) (*fleet.CoordinateMap, error) {
	coordinates := fleet.NewCoordinateMap()
	return coordinates, b.inside(at, func(c *http.Client) error {
		client, err := api.NewClient(&api.Config{Address: b.planet.Site(at).ConsulAddress, HttpClient: c})
		if err != nil {
			return err
		}
		sites, err := client.Coordinate().Datacenters()
		if err != nil {
			return fmt.Errorf("read the coordinates of %s: %w", at, err)
		}
		said := map[string][]*coordinate.Coordinate{}
		for _, site := range sites {
			for _, server := range site.Coordinates {
				said[site.Datacenter] = append(said[site.Datacenter], server.Coord)
			}
		}
		coordinates.Learn(said, time.Now())
		return nil
	})
}
