// Package placement decides at which site a session runs.
//
// Rank is a pure function of plain numbers: no clock, no I/O, and randomness
// only from the function that is passed in. It weighs time that the person will
// spend, in milliseconds, so the terms can be added:
//
//	score = round trip to the site             (felt in every frame)
//	      + expected wait until a seat is ready (felt once)
//	      + load: penalty for a crowded site
//
// The lowest score wins. So a warm seat 40 ms away beats one that has to be
// started 25 ms away.
//
//	round trip  measured by the caller; else predicted from coordinates or from
//	            what the caller measured (package probe), with an error, and never
//	            less than the nearest site that was measured; else assumed:
//	            AssumedNear for the site of the router that the caller reached,
//	            AssumedFar for any other, and at least AssumedSlower more than the
//	            slowest site that was measured, because a caller stops waiting
//	            after the first answers
//	wait        0 with an idle seat that nobody else waits for; half a cold start
//	            for a seat that is starting; a cold start where max allows one more
//	            seat; else the queue, from how long sessions and starts take at
//	            that site: people queue at a full site, it does not refuse them
//	load        up to CrowdedMS, by the square of the share of seats in use
//
// A site is excluded where waiting does not help: the request forbids the site,
// the person has just lost it, it has no healthy brain, it lacks the app or the
// version, it may have no seats, or seats fail to start. The rules apply in the
// order of the Exclusions below; Result.LastRule says which of them excluded the
// last site. One of the sites within NearMS of the best is drawn at random,
// weighted by spare seats, so that many people at once do not all go to the site
// that is slightly nearer.
//
// A measurement of the caller decides only where the caller goes. It counts for
// at least FloorMS. One that contradicts another, given the distance between the
// two sites, is marked (Candidate.Doubt), and the reason says so. Measurements
// that are kept for other people must pass Contradicts first.
//
// Each candidate says in words why it has its place:
//
//	r := placement.Rank(placement.Request{RTT: map[string]float64{"eu-west-1": 14.2}}, sites, rand.Float64)
//	best, ok := r.Best() // best.Reason: "14.2 ms away (measured), 2 seats ready"
package placement

// What is assumed while nothing is known, and limits. Milliseconds.
const (
	AssumedNear      = 30      // caller to the router that was reached
	AssumedFar       = 150     // caller to any other site
	AssumedSlower    = 50      // how much slower a site is that did not answer than those that did
	AssumedColdStart = 8_000   // dispatch to idle
	AssumedSession   = 600_000 // a session, for the time in a queue
	FloorMS          = 0.25    // no measured round trip counts for less
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
	// RTT is what the caller measured, in milliseconds by site. NaN and negative
	// values count as not measured.
	RTT map[string]float64
	// Entry is the site of the router that was reached.
	Entry string
	// Allow, unless empty, names the only sites allowed; Deny those that are not.
	Allow, Deny []string
	// Lost names sites at which the person has just lost a session.
	Lost []string
	// Residency, unless empty, names jurisdictions: the site must lie in one of them.
	Residency []string
	// GPU, unless empty, is a class of GPU that the site must have.
	GPU string
	// MaxRTT in milliseconds; 0 is any.
	MaxRTT float64
	// Between, unless nil, is the round trip between two sites, by their index
	// in Rank's argument, and its error; NaN where it is not known. Measurements
	// are checked against it.
	Between func(a, b int) (ms, err float64)
}

// Site is a site and the app's capacity there.
type Site struct {
	Name    string
	Healthy bool // a brain answers
	// PredictedRTT is the predicted round trip from the caller in milliseconds,
	// and PredictedError its error; 0 where nothing is known.
	PredictedRTT, PredictedError float64
	// Residency names the jurisdictions that the site lies in; GPU its classes of GPU.
	Residency, GPU []string

	Present bool // the site has the app
	Version uint64
	// Seats by state, people waiting, and how many seats there may be.
	Idle, Busy, Starting, Queued, Max int
	// ColdStart is dispatch to idle, Session the length of a session, both in
	// milliseconds, as the site measures them; 0 where nothing was measured.
	ColdStart, Session float64
	// Failing says why seats fail to start, while they do.
	Failing string
}

// Exclusion says why a site cannot serve. The empty one means that it can.
type Exclusion string

// The rules, in the order in which they are applied to a site.
const (
	Denied      Exclusion = "in the request's deny list"
	NotAllowed  Exclusion = "not in the request's allow list"
	Lost        Exclusion = "a session was just lost there"
	NoResidency Exclusion = "not in a requested jurisdiction"
	NoGPU       Exclusion = "no GPU of the requested class"
	NoApp       Exclusion = "the site does not have the app"
	NoVersion   Exclusion = "the site does not have the requested version"
	NoBrain     Exclusion = "no healthy brain"
	TooFar      Exclusion = "farther than requested"
	NoSeats     Exclusion = "the app may have no seats at this site"
	Failing     Exclusion = "seats fail to start"
)

var rules = [...]Exclusion{Denied, NotAllowed, Lost, NoResidency, NoGPU, NoApp, NoVersion, NoBrain, TooFar, NoSeats, Failing}

// Preference reports whether the rule comes from the request: without it, the
// request might get a site.
func (e Exclusion) Preference() bool {
	switch e {
	case Denied, NotAllowed, Lost, NoResidency, NoGPU, NoVersion, TooFar:
		return true
	}
	return false
}

// Candidate is one site and its score. Score is RTT + Wait + Load, exactly.
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
	// Doubt is set where the caller's measurement contradicts another one of the
	// caller, given the distance between the two sites.
	Doubt  bool
	Reason string

	claimed float64 // as the caller measured it, before FloorMS
	against int32   // the site whose measurement contradicts this one
	spare   int     // seats that may be given away, for the draw
	seat    seatFrom
	ahead   int // people before this one

	start, end int32 // of Reason in the text of all reasons
}

// seatFrom is how a site gets a seat for the person.
type seatFrom uint8

const (
	seatIdle seatFrom = iota
	seatStarting
	seatCold
	seatQueue
)

// Result is every site: first those that can serve, the best first; then those
// that cannot, by name.
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

// LastRule is the rule that excluded the last site, where no site can serve:
// applied in order, the rules before it leave at least one site, and it leaves
// none. The second result is one of the sites that it excluded. Both are empty
// where a site can serve, or where there is no site.
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
