// Package prefix remembers what people of the same network measured, so that the
// next person of that network probes the right sites first.
//
// A network is an IPv4 /24 or an IPv6 /48. People in one mostly share their routes
// to all sites, except for the last mile:
//
//	store := prefix.New(prefix.Config{Between: between})
//	err := store.Add(now, addr, rtt)     // what a page measured, at its launch
//	hints := store.Hints(now, addr)      // for probe.Asked, for the next person
//
// # Wrong and false reports
//
// Hints say which sites to probe first and nothing else. Nobody is placed by what
// others reported, so a false report costs its victims a few probes at most. For
// that, most people of the network must report falsely:
//
//   - a report is refused as a whole if one of its round trips contradicts another,
//     given the distance between the two sites (placement.Contradicts);
//   - each person, an address (in IPv6 a /64), counts once for each site, with the
//     latest report;
//   - a site is hinted at only where Quorum people agree, and with their median.
//
// # Storage
//
// The store is in the memory of one router only. Nothing has to be stored,
// replicated or deleted on request, and all is gone with the process. People of a
// network nearly always reach the same router, because latency-based DNS sends
// them there. So sharing would gain little, and Consul's KV is not made for a
// write with each launch. The store is bounded: the network that was not used for
// longest is dropped first. Addresses are kept only as keyed hashes; the key ends
// with the process.
package prefix

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/nearcast/nearcast/router/placement"
	"github.com/nearcast/nearcast/router/placement/probe"
)

// ErrDoubtful is returned by Add for a report that contradicts itself.
var ErrDoubtful = errors.New("round trips contradict each other")

// Config sets the limits of a Store. The zero value is good, but checks no reports.
type Config struct {
	// Prefixes is how many networks are kept; 0 is 20,000, which take about 30 MB
	// when each is full.
	Prefixes int
	// Expiry is how long a report counts; 0 is a day.
	Expiry time.Duration
	// Quorum is how many people must agree; 0 is 3.
	Quorum int
	// Between is the round trip between two sites and its error; NaN where it is
	// not known. It is called by many goroutines at once.
	Between func(a, b string) (ms, err float64)
}

const (
	maxSites   = 16 // of a network, the nearest
	maxReports = 7  // of a site, the latest
	shards     = 16

	// How much people of a network may differ and still agree: last miles differ,
	// and there are several routes to far sites.
	agreeMS   = 20
	agreePart = 0.3
	// leastError is the least error of a median, from the last mile.
	leastError = 6
)

// Store keeps reports. It may be used by many goroutines at once.
type Store struct {
	cfg    Config
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu       sync.Mutex
	networks map[netip.Prefix]*list.Element // of *network
	recent   list.List                      // the latest used in front
}

// network is what was reported from one network.
type network struct {
	prefix netip.Prefix
	sites  []site
}

type site struct {
	name    string
	reports []report
}

// report is what one person measured to one site.
type report struct {
	person uint64
	ms     float32
	at     time.Time
}

// New makes an empty store.
func New(cfg Config) *Store {
	if cfg.Prefixes <= 0 {
		cfg.Prefixes = 20_000
	}
	if cfg.Expiry <= 0 {
		cfg.Expiry = 24 * time.Hour
	}
	if cfg.Quorum <= 0 {
		cfg.Quorum = 3
	}
	s := &Store{cfg: cfg, seed: maphash.MakeSeed()}
	for i := range s.shards {
		s.shards[i].networks = map[netip.Prefix]*list.Element{}
	}
	return s
}

// Add takes what a person measured, in milliseconds by site. It keeps nothing
// where one round trip contradicts another.
func (s *Store) Add(now time.Time, from netip.Addr, rtt map[string]float64) error {
	prefix, person, err := s.locate(from)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(rtt))
	for name, ms := range rtt {
		if ms >= 0 && ms <= probe.MaxRTT { // false for NaN
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	// Only near sites are useful as hints.
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rtt[a], rtt[b]), cmp.Compare(a, b)) })
	near := names[:min(len(names), maxSites)]
	if err := s.check(near, names, rtt); err != nil {
		return err
	}

	sh := &s.shards[s.shard(prefix)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := sh.network(prefix, max(1, s.cfg.Prefixes/shards))
	for _, name := range near {
		n.add(name, report{person, float32(rtt[name]), now}, now.Add(-s.cfg.Expiry))
	}
	return nil
}

// Hints are what the people of an address's network agree on, the nearest first.
func (s *Store) Hints(now time.Time, from netip.Addr) []probe.Hint {
	prefix, _, err := s.locate(from)
	if err != nil {
		return nil
	}
	sh := &s.shards[s.shard(prefix)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, ok := sh.networks[prefix]
	if !ok {
		return nil
	}
	sh.recent.MoveToFront(at)
	var out []probe.Hint
	for _, site := range at.Value.(*network).sites {
		if h, ok := site.agreed(now.Add(-s.cfg.Expiry), s.cfg.Quorum); ok {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b probe.Hint) int { return cmp.Compare(a.RTT, b.RTT) })
	return out
}

// networkOf is the network of an address.
func networkOf(from netip.Addr) (netip.Prefix, error) {
	from = from.Unmap().WithZone("")
	bits := 24
	if from.Is6() {
		bits = 48
	}
	p, err := from.Prefix(bits)
	if err != nil || !from.IsValid() {
		return netip.Prefix{}, fmt.Errorf("find network: %v is not an address", from)
	}
	return p, nil
}

// locate is an address's network, and a hash that stands for the person in it.
func (s *Store) locate(from netip.Addr) (netip.Prefix, uint64, error) {
	prefix, err := networkOf(from)
	if err != nil {
		return prefix, 0, err
	}
	person := from.Unmap().WithZone("")
	if person.Is6() {
		half, _ := person.Prefix(64)
		person = half.Addr()
	}
	return prefix, maphash.Comparable(s.seed, person), nil
}

func (s *Store) shard(p netip.Prefix) uint64 { return maphash.Comparable(s.seed, p) % shards }

// check compares each round trip that would be kept with all of the report.
func (s *Store) check(near, names []string, rtt map[string]float64) error {
	if s.cfg.Between == nil {
		return nil
	}
	for _, a := range near {
		for _, b := range names {
			if a == b {
				continue
			}
			distance, err := s.cfg.Between(a, b)
			if placement.Contradicts(rtt[a], rtt[b], distance, err) {
				return fmt.Errorf("%w: %.1f ms to %s and %.1f ms to %s, which are %.1f ± %.1f ms apart",
					ErrDoubtful, rtt[a], a, rtt[b], b, distance, err)
			}
		}
	}
	return nil
}

// network finds a network or adds it, and drops old ones for it.
func (sh *shard) network(prefix netip.Prefix, most int) *network {
	if at, ok := sh.networks[prefix]; ok {
		sh.recent.MoveToFront(at)
		return at.Value.(*network)
	}
	for len(sh.networks) >= most {
		oldest := sh.recent.Back()
		delete(sh.networks, oldest.Value.(*network).prefix)
		sh.recent.Remove(oldest)
	}
	n := &network{prefix: prefix}
	sh.networks[prefix] = sh.recent.PushFront(n)
	return n
}

// add takes one person's report, in place of an earlier one.
func (n *network) add(name string, r report, since time.Time) {
	at := slices.IndexFunc(n.sites, func(s site) bool { return s.name == name })
	if at < 0 {
		if len(n.sites) == maxSites {
			at = n.least(since)
			n.sites[at] = site{}
		} else {
			at = len(n.sites)
			n.sites = append(n.sites, site{})
		}
		n.sites[at].name = name
	}
	s := &n.sites[at]
	s.reports = slices.DeleteFunc(s.reports, func(o report) bool { return o.person == r.person || o.at.Before(since) })
	if len(s.reports) == maxReports {
		s.reports = slices.Delete(s.reports, 0, 1)
	}
	s.reports = append(s.reports, r)
}

// least is the site that is the least useful: the one with the fewest reports,
// and among those the farthest.
func (n *network) least(since time.Time) int {
	at, fewest, far := 0, math.MaxInt, 0.0
	for i := range n.sites {
		of := n.sites[i].fresh(since)
		count, ms := len(of), median(of)
		if count < fewest || count == fewest && ms > far {
			at, fewest, far = i, count, ms
		}
	}
	return at
}

// fresh are the round trips that still count, sorted.
func (s *site) fresh(since time.Time) []float64 {
	out := make([]float64, 0, maxReports)
	for _, r := range s.reports {
		if !r.at.Before(since) {
			out = append(out, float64(r.ms))
		}
	}
	slices.Sort(out)
	return out
}

// agreed is the median, if enough people are near it, and most of all people.
func (s *site) agreed(since time.Time, quorum int) (probe.Hint, bool) {
	all := s.fresh(since)
	if len(all) < quorum {
		return probe.Hint{}, false
	}
	mid := median(all)
	apart := make([]float64, 0, maxReports)
	agree := 0
	for _, ms := range all {
		d := math.Abs(ms - mid)
		apart = append(apart, d)
		if d <= agreeMS+agreePart*mid {
			agree++
		}
	}
	if agree < quorum || 2*agree <= len(all) {
		return probe.Hint{}, false
	}
	slices.Sort(apart)
	const normal = 1.4826 // of a median of deviations, to a standard deviation
	return probe.Hint{Site: s.name, RTT: mid, Error: max(leastError, normal*median(apart))}, true
}

// median of sorted numbers; the lower of the middle two.
func median(sorted []float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)/2]
}
