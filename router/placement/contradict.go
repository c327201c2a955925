package placement

import "math"

// How far a round trip may depart from what the triangle inequality asks and
// still be believed. Routes on the Internet are not straight, and honest people
// violate it daily: bench/placement counts how many (measure "doubts").
const (
	slackMS   = 40
	slackPart = 0.5 // of the longest side
)

// Contradicts reports that two round trips of one place, a and b, cannot both
// be, given the round trip between the two sites and how far that may be off:
// their difference is larger than the way between the sites, or the way between
// the sites over this place is shorter than the way itself; by more than routes
// on the Internet are crooked. It is false where the way between is not known.
func Contradicts(a, b, between, err float64) bool {
	if math.Abs(a-b) <= between && between <= a+b {
		return false // a triangle, as nearly all are
	}
	if !sane(a) || !sane(b) || !sane(between) {
		return false
	}
	if !sane(err) {
		return false // off by nobody knows how much
	}
	slack := slackMS + slackPart*max(a, b, between) + err
	return math.Abs(a-b) > between+slack || a+b < between-slack
}

// witnesses is how many of the nearest claims every other claim is held against.
// Two claims that are both far say little of each other.
const witnesses = 4

// doubt marks claims that contradict another. Of two that do, nobody knows which
// is false, so both are marked.
func doubt(all []Candidate, between func(a, b int) (ms, err float64)) {
	if between == nil {
		return
	}
	var near [witnesses]int
	n := 0
	for i := range all {
		if all[i].Source != Measured {
			continue
		}
		at := n
		for at > 0 && all[near[at-1]].claimed > all[i].claimed {
			at--
		}
		if at == witnesses {
			continue
		}
		n = min(n+1, witnesses)
		copy(near[at+1:n], near[at:n-1])
		near[at] = i
	}
	for _, w := range near[:n] {
		for i := range all {
			if i == w || all[i].Source != Measured || all[i].Site == all[w].Site {
				continue
			}
			way, err := between(all[w].Index, all[i].Index)
			if Contradicts(all[w].claimed, all[i].claimed, way, err) {
				mark(&all[w], all[i].Index)
				mark(&all[i], all[w].Index)
			}
		}
	}
}

func mark(c *Candidate, against int) {
	if !c.Doubt {
		c.Doubt, c.against = true, int32(against)
	}
}
