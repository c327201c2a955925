// Package prefix remembers what people of one neighbourhood of the Internet
// measured, so that the next one knows where to look.
//
// A neighbourhood is a /24 of IPv4 or a /48 of IPv6. People in it mostly share
// their way to the world, up to the last mile:
//
//	store := prefix.New(prefix.Config{Between: between})
//	err := store.Add(now, addr, rtt)     // what a page measured, when it launches
//	hints := store.Hints(now, addr)      // for probe.Asked, when the next one asks
//
// # What may go wrong, and does not
//
// Hints say which sites to measure first and nothing else: nobody is placed by
// what others claimed, so a lie costs its victims probes at most. To cost even
// that, it has to be told by most of the people heard:
//
//   - a report with a claim that contradicts another by what is known of the way
//     between the sites (placement.Contradicts) is refused as a whole;
//   - each person, an address (a /64 in IPv6), has one voice a site, her latest;
//   - a site is hinted at only where Quorum people agree, and by their median.
//
// # Where it is kept
//
// In the memory of one router, and nowhere else: nothing to store, replicate or
// delete on request, and gone with the process. People of a neighbourhood reach
// the same router nearly always, since latency DNS sends them there, so sharing
// would gain little, and Consul's KV is no place for a write a launch. The store
// is bounded: the neighbourhood not used for longest goes first. Addresses are
// kept only as keyed hashes whose key dies with the process.
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
var ErrDoubtful = errors.New("a round trip does not fit another")

// Config is what a Store may do. The zero value will do, but checks no claims.
type Config struct {
	// Prefixes is how many neighbourhoods are kept; 0 is 20,000, which take
	// about 30 MB when each is full.
	Prefixes int
	// Expiry is how long a measurement counts; 0 is a day.
	Expiry time.Duration
	// Quorum is how many people must agree; 0 is 3.
	Quorum int
	// Between is the round trip between two sites and how far that may be off;
	// not a number where nobody knows. It is called by many goroutines at once.
	Between func(a, b string) (ms, err float64)
}

const (
	maxSites  = 16 // a neighbourhood, the nearest
	maxVoices = 7  // a site, the latest
	shards    = 16

	// By how much people of a neighbourhood may differ and still agree: last
	// miles do, and far sites are seen by many ways.
	agreeMS   = 20
	agreePart = 0.3
	// leastError is how far a median is off at least: a last mile's worth.
	leastError = 6
)

// Store is what was heard. Any number of goroutines may use it.
type Store struct {
	cfg    Config
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu     sync.Mutex
	places map[netip.Prefix]*list.Element // of *place
	recent list.List                      // the latest used in front
}

// place is one neighbourhood.
type place struct {
	prefix netip.Prefix
	sites  []site
}

type site struct {
	name   string
	voices []voice
}

// voice is one person's word on one site.
type voice struct {
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
		s.shards[i].places = map[netip.Prefix]*list.Element{}
	}
	return s
}

// Add takes what a person measured, in milliseconds by site. It keeps nothing of
// a report that contradicts itself.
func (s *Store) Add(now time.Time, from netip.Addr, rtt map[string]float64) error {
	where, person, err := s.locate(from)
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
	// Only the near ones are of use to anybody.
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rtt[a], rtt[b]), cmp.Compare(a, b)) })
	near := names[:min(len(names), maxSites)]
	if err := s.check(near, names, rtt); err != nil {
		return err
	}

	sh := &s.shards[s.shard(where)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p := sh.place(where, max(1, s.cfg.Prefixes/shards))
	for _, name := range near {
		p.hear(name, voice{person, float32(rtt[name]), now}, now.Add(-s.cfg.Expiry))
	}
	return nil
}

// Hints are what the people of from's neighbourhood agree on, the nearest first.
func (s *Store) Hints(now time.Time, from netip.Addr) []probe.Hint {
	where, _, err := s.locate(from)
	if err != nil {
		return nil
	}
	sh := &s.shards[s.shard(where)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, ok := sh.places[where]
	if !ok {
		return nil
	}
	sh.recent.MoveToFront(at)
	var out []probe.Hint
	for _, site := range at.Value.(*place).sites {
		if h, ok := site.agreed(now.Add(-s.cfg.Expiry), s.cfg.Quorum); ok {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b probe.Hint) int { return cmp.Compare(a.RTT, b.RTT) })
	return out
}

// Len is how many neighbourhoods are kept.
func (s *Store) Len() int {
	n := 0
	for i := range s.shards {
		s.shards[i].mu.Lock()
		n += len(s.shards[i].places)
		s.shards[i].mu.Unlock()
	}
	return n
}

// Of is the neighbourhood of an address.
func Of(from netip.Addr) (netip.Prefix, error) {
	from = from.Unmap().WithZone("")
	bits := 24
	if from.Is6() {
		bits = 48
	}
	p, err := from.Prefix(bits)
	if err != nil || !from.IsValid() {
		return netip.Prefix{}, fmt.Errorf("find neighbourhood: %v is no address", from)
	}
	return p, nil
}

// locate is an address's neighbourhood, and who in it she is.
func (s *Store) locate(from netip.Addr) (netip.Prefix, uint64, error) {
	where, err := Of(from)
	if err != nil {
		return where, 0, err
	}
	person := from.Unmap().WithZone("")
	if person.Is6() {
		half, _ := person.Prefix(64)
		person = half.Addr()
	}
	return where, maphash.Comparable(s.seed, person), nil
}

func (s *Store) shard(p netip.Prefix) uint64 { return maphash.Comparable(s.seed, p) % shards }

// check holds every claim that would be kept against all.
func (s *Store) check(near, names []string, rtt map[string]float64) error {
	if s.cfg.Between == nil {
		return nil
	}
	for _, a := range near {
		for _, b := range names {
			if a == b {
				continue
			}
			way, off := s.cfg.Between(a, b)
			if placement.Contradicts(rtt[a], rtt[b], way, off) {
				return fmt.Errorf("%w: %.1f ms to %s and %.1f ms to %s, which are %.1f ± %.1f ms apart",
					ErrDoubtful, rtt[a], a, rtt[b], b, way, off)
			}
		}
	}
	return nil
}

// place finds or makes a neighbourhood, and makes room for it.
func (sh *shard) place(where netip.Prefix, most int) *place {
	if at, ok := sh.places[where]; ok {
		sh.recent.MoveToFront(at)
		return at.Value.(*place)
	}
	for len(sh.places) >= most {
		oldest := sh.recent.Back()
		delete(sh.places, oldest.Value.(*place).prefix)
		sh.recent.Remove(oldest)
	}
	p := &place{prefix: where}
	sh.places[where] = sh.recent.PushFront(p)
	return p
}

// hear takes one person's word, in place of her word before.
func (p *place) hear(name string, v voice, since time.Time) {
	at := slices.IndexFunc(p.sites, func(s site) bool { return s.name == name })
	if at < 0 {
		if len(p.sites) == maxSites {
			at = p.least(since)
			p.sites[at] = site{}
		} else {
			at = len(p.sites)
			p.sites = append(p.sites, site{})
		}
		p.sites[at].name = name
	}
	s := &p.sites[at]
	s.voices = slices.DeleteFunc(s.voices, func(o voice) bool { return o.person == v.person || o.at.Before(since) })
	if len(s.voices) == maxVoices {
		s.voices = slices.Delete(s.voices, 0, 1)
	}
	s.voices = append(s.voices, v)
}

// least is the site that is missed least: the fewest people know it, and of
// those the one they are farthest from.
func (p *place) least(since time.Time) int {
	at, voices, far := 0, math.MaxInt, 0.0
	for i := range p.sites {
		of := p.sites[i].fresh(since)
		n, ms := len(of), median(of)
		if n < voices || n == voices && ms > far {
			at, voices, far = i, n, ms
		}
	}
	return at
}

// fresh are the round trips that still count, sorted.
func (s *site) fresh(since time.Time) []float64 {
	out := make([]float64, 0, maxVoices)
	for _, v := range s.voices {
		if !v.at.Before(since) {
			out = append(out, float64(v.ms))
		}
	}
	slices.Sort(out)
	return out
}

// agreed is the median, if enough people are near it, and most of all heard.
func (s *site) agreed(since time.Time, quorum int) (probe.Hint, bool) {
	heard := s.fresh(since)
	if len(heard) < quorum {
		return probe.Hint{}, false
	}
	mid := median(heard)
	apart := make([]float64, 0, maxVoices)
	agree := 0
	for _, ms := range heard {
		d := math.Abs(ms - mid)
		apart = append(apart, d)
		if d <= agreeMS+agreePart*mid {
			agree++
		}
	}
	if agree < quorum || 2*agree <= len(heard) {
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
