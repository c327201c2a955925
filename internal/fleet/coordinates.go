package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/serf/coordinate"

	"github.com/nearcast/nearcast/internal/wire"
)

// When a coordinate is believed. Consul's servers learn their coordinates from
// gossip, one peer in 5 s, and begin with an Error of 1.5.
const (
	// maxError is the relative error above which a coordinate is useless.
	maxError = 0.6
	// settledError is what only a coordinate has that was refined for a while.
	settledError = 0.3
	// youth is how long a new site is not believed, unless its coordinates were
	// settled at the first look: then it is the map that is new.
	youth = 2 * time.Minute
	// maxAge is how long coordinates are believed after Consul said them last.
	maxAge = 5 * time.Minute
	// dimensions is what Consul uses. Coordinates of other dimensions belong to
	// another configuration, and cannot be compared.
	dimensions = 8
	// leastErrorMS is the error of even the best coordinates.
	leastErrorMS = 0.5
)

// A CoordinateMap knows how far sites are from one another, as the WAN coordinates of
// their Consul servers say, and how reliable that is. It is fed by
// FollowCoordinates or Learn and may be used by many goroutines at once.
//
//	coordinates := fleet.NewCoordinateMap()
//	go f.FollowCoordinates(ctx, coordinates, 10*time.Second, nil)
//	d := coordinates.Distance("eu-west-1", "us-east-1", time.Now())
//	if d.Untrusted == "" { … }            // d.RTTMS ± d.ErrorMS
type CoordinateMap struct {
	mu    sync.Mutex
	sites map[string]*siteCoordinates
	said  time.Time // when Learn was called last
}

// siteCoordinates is a site's part of a CoordinateMap.
type siteCoordinates struct {
	first   time.Time // seen; zero for one that was settled at the first look
	servers []*coordinate.Coordinate
	error   float64 // of the median server
	flaw    string  // why no server has usable coordinates
}

// NewCoordinateMap makes an empty one.
func NewCoordinateMap() *CoordinateMap { return &CoordinateMap{} }

// Learn takes what Consul says now, of all sites. The caller does not change
// the coordinates afterwards.
func (a *CoordinateMap) Learn(said map[string][]*coordinate.Coordinate, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	opened := a.sites == nil
	before := a.sites
	a.sites = make(map[string]*siteCoordinates, len(said))
	a.said = now
	for site, list := range said {
		p := &siteCoordinates{first: now}
		var errors []float64
		for _, c := range list {
			switch {
			case c == nil:
			case !c.IsValid() || c.Error < 0:
				p.flaw = "its coordinates are not numbers"
			case len(c.Vec) != dimensions:
				p.flaw = fmt.Sprintf("its coordinates have %d dimensions instead of %d", len(c.Vec), dimensions)
			default:
				p.servers = append(p.servers, c)
				errors = append(errors, c.Error)
			}
		}
		if len(p.servers) > 0 {
			p.flaw = ""
			p.error = median(errors)
		} else if p.flaw == "" {
			p.flaw = "its servers have no coordinates yet"
		}
		if was, ok := before[site]; ok {
			p.first = was.first
		} else if opened && p.flaw == "" && p.error <= settledError {
			p.first = time.Time{}
		}
		a.sites[site] = p
	}
}

// Distance is the round trip between two sites. It always returns a value; if that
// must not be used, Untrusted says why.
func (a *CoordinateMap) Distance(from, to string, now time.Time) wire.Distance {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.distance(from, to, now)
}

func (a *CoordinateMap) distance(from, to string, now time.Time) wire.Distance {
	if from == to {
		return wire.Distance{}
	}
	if a.sites == nil {
		return wire.Distance{Untrusted: "consul has not been asked for coordinates yet"}
	}
	p, q := a.sites[from], a.sites[to]
	switch {
	case p == nil:
		return wire.Distance{Untrusted: "consul has no coordinates of " + from}
	case q == nil:
		return wire.Distance{Untrusted: "consul has no coordinates of " + to}
	case p.flaw != "":
		return wire.Distance{Untrusted: from + ": " + p.flaw}
	case q.flaw != "":
		return wire.Distance{Untrusted: to + ": " + q.flaw}
	}
	all := make([]float64, 0, len(p.servers)*len(q.servers))
	for _, s := range p.servers {
		for _, t := range q.servers {
			all = append(all, float64(s.DistanceTo(t))/float64(time.Millisecond))
		}
	}
	rtt := median(all)
	// Error is relative: the share by which recent predictions were wrong.
	d := wire.Distance{RTTMS: round(rtt), ErrorMS: round(max(leastErrorMS, rtt*max(p.error, q.error)))}
	d.Untrusted = p.doubt(from, now)
	if d.Untrusted == "" {
		d.Untrusted = q.doubt(to, now)
	}
	if age := now.Sub(a.said); d.Untrusted == "" && age > maxAge {
		d.Untrusted = fmt.Sprintf("the coordinates are %s old", age.Round(time.Second))
	}
	return d
}

// doubt is why a site's coordinates are not believed now; empty where they are.
func (p *siteCoordinates) doubt(site string, now time.Time) string {
	switch age := now.Sub(p.first); {
	case p.error > maxError:
		return fmt.Sprintf("the coordinates of %s are too uncertain (error %.2f, at most %.2f)", site, p.error, maxError)
	case age < youth:
		return fmt.Sprintf("%s was seen first %s ago, and its coordinates settle for %s", site, age.Round(time.Second), youth)
	}
	return ""
}

// median of some numbers, which it sorts; of two in the middle the lower.
func median(of []float64) float64 {
	slices.Sort(of)
	return of[(len(of)-1)/2]
}

// round keeps a hundredth of a millisecond.
func round(ms float64) float64 { return float64(int64(ms*100+0.5)) / 100 }

// Coordinates are the WAN coordinates of each site's servers. They need minutes
// to converge after a start; each says by its Error how sure it is.
func (f *Fleet) Coordinates(ctx context.Context) (map[string][]*coordinate.Coordinate, error) {
	var list []struct {
		Datacenter  string
		Coordinates []struct{ Coord *coordinate.Coordinate }
	}
	if _, err := f.consul.Raw().Query("/v1/coordinate/datacenters", &list, f.query(ctx)); err != nil {
		return nil, fmt.Errorf("read coordinates: %w", err)
	}
	out := make(map[string][]*coordinate.Coordinate, len(list))
	for _, dc := range list {
		servers := out[dc.Datacenter] // a site without coordinates is a site all the same
		for _, c := range dc.Coordinates {
			if c.Coord != nil {
				servers = append(servers, c.Coord)
			}
		}
		out[dc.Datacenter] = servers
	}
	return out, nil
}

// FollowCoordinates keeps a coordinate map up to date until ctx ends, by asking Consul now
// and then: coordinates cannot be watched. learned, unless nil, is called after
// each answer.
func (f *Fleet) FollowCoordinates(ctx context.Context, coordinates *CoordinateMap, every time.Duration, learned func()) {
	for failing := false; ; {
		ask, cancel := context.WithTimeout(ctx, every)
		said, err := f.Coordinates(ask)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failing {
				f.log.Warn("reading coordinates from consul failed; retrying", slog.Any("error", err))
			}
			failing = true
		default:
			failing = false
			coordinates.Learn(said, time.Now())
			if learned != nil {
				learned()
			}
		}
		if !sleep(ctx, every) {
			return
		}
	}
}
