package placement

import "math"

// How far a round trip may violate the triangle inequality and still be
// believed. Routes on the Internet are not straight, and honest measurements
// violate it often: bench/placement counts how many (measure "doubts").
const (
	slackMS   = 40
	slackPart = 0.5 // of the longest side
)

// Contradicts reports whether a caller cannot have both round trips, a and b,
// given the round trip between the two sites and its error: their difference is
// larger than the distance between the sites, or their sum is smaller, by more
// than the detours of routes on the Internet explain. It is false where that
// distance is not known.
func Contradicts(a, b, between, err float64) bool {
	if math.Abs(a-b) <= between && between <= a+b {
		return false // a triangle, as nearly all are
	}
	if !sane(a) || !sane(b) || !sane(between) {
		return false
	}
	if !sane(err) {
		return false // the error is not known
	}
	slack := slackMS + slackPart*max(a, b, between) + err
	return math.Abs(a-b) > between+slack || a+b < between-slack
}

// references is how many of the nearest measurements every other one is checked
// against. Two sites that are both far say little about each other.
const references = 4

// markDoubts marks measurements that contradict another. It is not known which
// of the two is wrong, so both are marked.
func markDoubts(all []Candidate, between func(a, b int) (ms, err float64)) {
	if between == nil {
		return
	}
	var near [references]int
	n := 0
	for i := range all {
		if all[i].Source != Measured {
			continue
		}
		at := n
		for at > 0 && all[near[at-1]].claimed > all[i].claimed {
			at--
		}
		if at == references {
			continue
		}
		n = min(n+1, references)
		copy(near[at+1:n], near[at:n-1])
		near[at] = i
	}
	for _, r := range near[:n] {
		for i := range all {
			if i == r || all[i].Source != Measured || all[i].Site == all[r].Site {
				continue
			}
			distance, err := between(all[r].Index, all[i].Index)
			if Contradicts(all[r].claimed, all[i].claimed, distance, err) {
				mark(&all[r], all[i].Index)
				mark(&all[i], all[r].Index)
			}
		}
	}
}

func mark(c *Candidate, against int) {
	if !c.Doubt {
		c.Doubt, c.against = true, int32(against)
	}
}
