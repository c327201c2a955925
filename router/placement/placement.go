// Package placement decides at which site a session should run.
//
// Rank is a pure function over plain numbers: no clock, no I/O, and the only
// chance in it is the one that is passed in. Everything it weighs is time that
// the person will spend, in milliseconds, so that the terms may be added:
//
//	score = round trip to the site            (felt at every frame)
//	      + expected wait until a seat is ready (felt once)
//	      + penalty for a crowded site
//
// and the lowest score wins. A warm seat 40 ms away therefore beats one that
// has to be started 25 ms away.
//
//	round trip  measured by the caller; else predicted (from coordinates, or from
//	            what was measured: package probe), with its error, and never
//	            below the nearest that was measured, which had the chance to
//	            answer later and did not; else assumed: AssumedNear for the site
//	            of the router that was reached, AssumedFar for any other, and for
//	            both at least AssumedSlower more than the slowest that was
//	            measured, since it was the first to answer that the caller waited for
//	wait        0 with an idle seat nobody else waits for; half a start for a
//	            seat that is starting; a start where there is room for one more
//	            seat; else the queue, by how long sessions and starts take at
//	            that site: a full site makes people wait, it is no reason for
//	            refusal
//	load        up to CrowdedMS, by the square of the part of the seats in use
//
// Sites are left out for what cannot be waited away: the request forbids them,
// the person has just lost them, no healthy brain, the app or its version is
// not there, no seat may exist, or seats fail to start. The rules hold in the
// order in which the Exclusions stand below; Result.LastRule says which of them
// left nothing. Of the sites within NearMS of the best one is drawn by spare
// capacity, so that a burst of people does not stampede the site that happens
// to be a hair closer.
//
// What a caller claims to have measured is her own affair: it decides where
// *she* goes, but never below FloorMS, and a claim that does not fit another of
// hers and the way between the two sites is marked (Candidate.Doubt) and said
// in the reason. What is kept for others must pass Contradicts first.
//
// Each candidate says in words why it stands where it stands.
package placement

import (
	"math"
	"slices"
)

// What is taken to be true while nothing is known. Milliseconds.
const (
	AssumedNear      = 30      // caller to the router that was reached
	AssumedFar       = 150     // caller to any other site
	AssumedSlower    = 50      // what a site that did not answer is behind those that did
	AssumedColdStart = 8_000   // dispatch to idle
	AssumedSession   = 600_000 // a session, for the length of a queue
	FloorMS          = 0.25    // no claimed round trip counts for less
	CrowdedMS        = 20      // penalty of a site with all seats in use
	NearMS           = 5       // scores this close are equal
)

// limit bounds any number that comes in, so that sums stay finite and exact.
const limit = 1e6

// Source is where a round trip comes from.
type Source string

const (
	Measured  Source = "measured"
	Predicted Source = "predicted"
	Assumed   Source = "assumed"
)

// Request is what a person wants of an app.
type Request struct {
	Version uint64 // 0 is the newest that a site has
	// RTT is what the caller measured, in milliseconds by site. What is not a
	// number, or is negative, counts as not measured.
	RTT map[string]float64
	// Entry is the site of the router that was reached.
	Entry string
	// Allow, unless empty, names the only sites that will do; Deny those that will not.
	Allow, Deny []string
	// Lost names sites that the person has just lost a session at.
	Lost []string
	// Residency, unless empty, names jurisdictions: a site must lie in one of them.
	Residency []string
	// GPU, unless empty, is a class of GPU that a site must have.
	GPU string
	// MaxRTT in milliseconds; 0 is any.
	MaxRTT float64
	// Between, unless nil, is the round trip between two sites, by their index
	// in Rank's argument, and how far it may be off; not a number where nobody
	// knows. Claims are checked against it.
	Between func(a, b int) (ms, err float64)
}

// Site is what is known of a site and of the app's room there.
type Site struct {
	Name    string
	Healthy bool // a brain answers
	// PredictedRTT is what coordinates say of the way from the caller, in
	// milliseconds, and how far it may be off; 0 while nobody knows.
	PredictedRTT, PredictedError float64
	// Residency names the jurisdictions the site lies in; GPU the classes it has.
	Residency, GPU []string

	Present bool // the app is there
	Version uint64
	// Seats by state, people waiting, and how many seats there may be.
	Idle, Busy, Starting, Queued, Max int
	// ColdStart is dispatch to idle, Session the length of a session, both in
	// milliseconds, as the site measures them; 0 while nobody knows.
	ColdStart, Session float64
	// Failing says why seats fail to start, while they do.
	Failing string
}

// Exclusion says why a site cannot serve. The empty one means that it can.
type Exclusion string

// The rules, in the order in which they are applied to a site.
const (
	Denied      Exclusion = "excluded by the request"
	NotAllowed  Exclusion = "not among the sites asked for"
	Lost        Exclusion = "a session was just lost there"
	NoResidency Exclusion = "not in a jurisdiction asked for"
	NoGPU       Exclusion = "no GPU of the class asked for"
	NoApp       Exclusion = "the app is not at this site"
	NoVersion   Exclusion = "the version asked for is not at this site"
	NoBrain     Exclusion = "no healthy brain"
	TooFar      Exclusion = "farther than asked for"
	NoSeats     Exclusion = "the app may have no seats at this site"
	Failing     Exclusion = "seats fail to start"
)

var rules = [...]Exclusion{Denied, NotAllowed, Lost, NoResidency, NoGPU, NoApp, NoVersion, NoBrain, TooFar, NoSeats, Failing}

// Preference reports whether the rule is the request's own: somebody who asks
// for less gets a site.
func (e Exclusion) Preference() bool {
	switch e {
	case Denied, NotAllowed, Lost, NoResidency, NoGPU, NoVersion, TooFar:
		return true
	}
	return false
}

// Candidate is one site as Rank saw it. Score is RTT + Wait + Load, exactly.
type Candidate struct {
	Site     string
	Index    int // of the site in Rank's argument
	RTT      float64
	Source   Source
	Error    float64 // how far RTT may be off; 0 where it was measured
	Wait     float64
	Load     float64
	Score    float64
	Excluded Exclusion
	// Doubt is set where RTT was claimed and does not fit another claim of the
	// caller and the way between the two sites.
	Doubt  bool
	Reason string

	claimed float64 // before the floor
	against int32   // the site whose claim speaks against this one's
	spare   int     // seats that may be given away, for the draw
	stand   wait
	ahead   int // people before this one

	start, end int32 // of Reason in the text of all
}

// wait is how a site would come by a seat.
type wait uint8

const (
	waitNone wait = iota
	waitStarting
	waitCold
	waitQueue
)

// Result is every site: those that can serve first, best first; then those that
// cannot, by name.
type Result struct {
	Candidates []Candidate
	Serving    int // how many of them can serve
}

// Best is the chosen site.
func (r Result) Best() (Candidate, bool) {
	if r.Serving == 0 {
		return Candidate{}, false
	}
	return r.Candidates[0], true
}

// Rank orders the sites for a request. chance gives numbers in [0, 1); it is
// asked at most once.
func Rank(req Request, sites []Site, chance func() float64) Result {
	return new(Ranker).Rank(req, sites, chance)
}

// Ranker is memory that one decision after the other may use: with hundreds of
// sites, asking for it anew and having it collected is a good part of a
// decision. The zero Ranker is ready; it is not for two goroutines at once.
type Ranker struct {
	candidates []Candidate
	order      []key
	text       []byte
}

// Rank is Rank, with a Result that is good until the Room is used again. The
// strings in it are good for ever.
func (r *Ranker) Rank(req Request, sites []Site, chance func() float64) Result {
	r.candidates = slices.Grow(r.candidates[:0], len(sites))[:len(sites)]
	all := r.candidates
	seen := look(req.RTT)
	for i := range sites {
		all[i] = Candidate{Index: i}
		weigh(&all[i], &req, &sites[i], seen)
	}
	doubt(all, req.Between)
	r.sort()
	serving, _ := slices.BinarySearchFunc(all, true, func(c Candidate, _ bool) int {
		if c.Excluded == "" {
			return -1
		}
		return 1
	})
	drawn := draw(all[:serving], chance)
	// The reasons are parts of one string: what costs is to ask for memory, and
	// there are as many reasons as sites.
	text := r.text[:0]
	for i := range all {
		c := &all[i]
		c.start = int32(len(text))
		text = explain(text, c, &req, sites)
		if i == 0 && drawn > 1 {
			text = append(text, "; drawn by spare seats among "...)
			text = number(text, float64(drawn))
			text = append(text, " sites that are as good"...)
		}
		c.end = int32(len(text))
	}
	r.text = text
	words := string(text)
	for i := range all {
		all[i].Reason = words[all[i].start:all[i].end]
	}
	return Result{Candidates: all, Serving: serving}
}

// LastRule is, where no site can serve, the rule that left none, applying them
// in order: before it at least one site was still there, and the second result
// is one of those. Empty where a site can serve, or there is none at all.
func (r Result) LastRule() (Exclusion, string) {
	if r.Serving > 0 {
		return "", ""
	}
	for i := len(rules) - 1; i >= 0; i-- {
		for _, c := range r.Candidates {
			if c.Excluded == rules[i] {
				return rules[i], c.Site
			}
		}
	}
	return "", ""
}

// draw moves one of the near-equal leaders to the front, by spare capacity, and
// says among how many it chose.
func draw(serving []Candidate, chance func() float64) int {
	n, total := 0, 0
	for n < len(serving) && serving[n].Score <= serving[0].Score+NearMS {
		if serving[0].Source == Measured && serving[n].Source != Measured {
			break // a guess is not as good as a measurement
		}
		total += int(serving[n].spare)
		n++
	}
	if n < 2 || total == 0 {
		return n
	}
	mark := chance() * float64(total)
	for i := range n {
		mark -= float64(serving[i].spare)
		if mark < 0 || i == n-1 {
			chosen := serving[i]
			copy(serving[1:i+1], serving[:i])
			serving[0] = chosen
			break
		}
	}
	return n
}

// key is what a candidate is sorted by: small, where the candidate is not. The
// score of those left out is infinite.
type key struct {
	score float64
	at    int
}

// sort puts candidates in order. It moves each of them once.
func (r *Ranker) sort() {
	all, keys := r.candidates, r.order[:0]
	for i := range all {
		k := key{all[i].Score, i}
		if all[i].Excluded != "" {
			k.score = math.Inf(1)
		}
		keys = append(keys, k)
	}
	r.order = keys
	slices.SortFunc(keys, func(a, b key) int {
		switch {
		case a.score < b.score:
			return -1
		case a.score > b.score:
			return 1
		}
		return compare(&all[a.at], &all[b.at])
	})
	// keys[i].at is what belongs at i: along each cycle of these.
	for start := range keys {
		if keys[start].at < 0 {
			continue
		}
		first, i := all[start], start
		for keys[i].at != start {
			next := keys[i].at
			all[i], keys[i].at = all[next], -1
			i = next
		}
		all[i], keys[i].at = first, -1
	}
}

func compare(a, b *Candidate) int {
	switch {
	case (a.Excluded == "") != (b.Excluded == ""):
		if a.Excluded == "" {
			return -1
		}
		return 1
	case a.Excluded == "" && a.Score != b.Score:
		if a.Score < b.Score {
			return -1
		}
		return 1
	case a.Excluded == "" && (a.Source == Measured) != (b.Source == Measured):
		if a.Source == Measured {
			return -1
		}
		return 1
	case a.Site != b.Site:
		if a.Site < b.Site {
			return -1
		}
		return 1
	}
	return a.Index - b.Index
}

// seen is what the caller's measurements say of the sites she did not measure.
type seen struct {
	nearest float64 // 0 where she measured none
	silent  float64 // how far a site is at least that did not answer; 0 likewise
}

func look(rtt map[string]float64) seen {
	near, far := limit+1.0, -1.0
	for _, ms := range rtt {
		if sane(ms) {
			near, far = min(near, ms), max(far, ms)
		}
	}
	if far < 0 {
		return seen{}
	}
	return seen{nearest: near, silent: far + AssumedSlower}
}

// sane is false for NaN, infinities and what cannot be a time.
func sane(ms float64) bool { return ms >= 0 && ms <= limit }

func count(n int) int { return min(max(n, 0), limit) }
