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
//	round trip  measured by the caller; else predicted from Consul's coordinates;
//	            else assumed: AssumedNear for the site of the router that was
//	            reached, AssumedFar for any other, and for both at least
//	            AssumedSlower more than the slowest that was measured, since it
//	            was the first to answer that the caller waited for
//	wait        0 with an idle seat nobody else waits for; half a start for a
//	            seat that is starting; a start where there is room for one more
//	            seat; else the queue: a full site makes people wait, it is no
//	            reason for refusal
//	load        up to CrowdedMS, by the square of the part of the seats in use
//
// Sites are left out for what cannot be waited away: no healthy brain, the app
// or its version is not there, no seat may exist, seats fail to start, or the
// request forbids it. Of the sites within NearMS of the best one is drawn by
// spare capacity, so that a burst of people does not stampede the site that
// happens to be a hair closer.
//
// Each candidate says in words why it stands where it stands.
package placement

import "slices"

// What is taken to be true while nothing is known. Milliseconds.
const (
	AssumedNear      = 30      // caller to the router that was reached
	AssumedFar       = 150     // caller to any other site
	AssumedSlower    = 50      // what a site that did not answer is behind those that did
	AssumedColdStart = 8_000   // dispatch to idle
	AssumedSession   = 600_000 // a session, for the length of a queue
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
	// MaxRTT in milliseconds; 0 is any.
	MaxRTT float64
}

// Site is what is known of a site and of the app's room there.
type Site struct {
	Name    string
	Healthy bool // a brain answers
	// PredictedRTT is what coordinates say of the way from the caller, in
	// milliseconds; 0 while nobody knows.
	PredictedRTT float64

	Present bool // the app is there
	Version uint64
	// Seats by state, people waiting, and how many seats there may be.
	Idle, Busy, Starting, Queued, Max int
	// ColdStart is dispatch to idle in milliseconds; 0 while nobody knows.
	ColdStart float64
	// Failing says why seats fail to start, while they do.
	Failing string
}

// Exclusion says why a site cannot serve. The empty one means that it can.
type Exclusion string

const (
	NotAllowed Exclusion = "not among the sites asked for"
	Denied     Exclusion = "excluded by the request"
	NoApp      Exclusion = "the app is not at this site"
	NoVersion  Exclusion = "the version asked for is not at this site"
	NoBrain    Exclusion = "no healthy brain"
	TooFar     Exclusion = "farther than asked for"
	NoSeats    Exclusion = "the app may have no seats at this site"
	Failing    Exclusion = "seats fail to start"
)

// Candidate is one site as Rank saw it. Score is RTT + Wait + Load, exactly.
type Candidate struct {
	Site     string
	Index    int // of the site in Rank's argument
	RTT      float64
	Source   Source
	Wait     float64
	Load     float64
	Score    float64
	Excluded Exclusion
	Reason   string

	spare int // seats that may be given away, for the draw
	stand wait
	ahead int // people before this one
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
	all := make([]Candidate, len(sites))
	far := silent(req.RTT)
	for i := range sites {
		weigh(&all[i], &req, &sites[i], far)
		all[i].Index = i
	}
	slices.SortFunc(all, compare)
	serving, _ := slices.BinarySearchFunc(all, true, func(c Candidate, _ bool) int {
		if c.Excluded == "" {
			return -1
		}
		return 1
	})
	drawn := draw(all[:serving], chance)
	text := make([]byte, 0, 160)
	for i := range all {
		c := &all[i]
		text = explain(text[:0], c, &req, &sites[c.Index])
		if i == 0 && drawn > 1 {
			text = append(text, "; drawn by spare seats among "...)
			text = number(text, float64(drawn))
			text = append(text, " sites that are as good"...)
		}
		c.Reason = string(text)
	}
	return Result{Candidates: all, Serving: serving}
}

// draw moves one of the near-equal leaders to the front, by spare capacity, and
// says among how many it chose.
func draw(serving []Candidate, chance func() float64) int {
	n, total := 0, 0
	for n < len(serving) && serving[n].Score <= serving[0].Score+NearMS {
		total += serving[n].spare
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

func compare(a, b Candidate) int {
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
	case a.Site != b.Site:
		if a.Site < b.Site {
			return -1
		}
		return 1
	}
	return a.Index - b.Index
}

// silent is how far a site is at least that did not answer while others did; 0
// where none did.
func silent(rtt map[string]float64) float64 {
	far := -1.0
	for _, ms := range rtt {
		if sane(ms) && ms > far {
			far = ms
		}
	}
	if far < 0 {
		return 0
	}
	return far + AssumedSlower
}

// sane is false for NaN, infinities and what cannot be a time.
func sane(ms float64) bool { return ms >= 0 && ms <= limit }

func count(n int) int { return min(max(n, 0), limit) }
