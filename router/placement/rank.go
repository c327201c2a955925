package placement

import (
	"cmp"
	"math"
	"slices"
)

// Rank orders the sites for a request. chance gives numbers in [0, 1); it is
// called at most once.
func Rank(req Request, sites []Site, chance func() float64) Result {
	return new(Ranker).Rank(req, sites, chance)
}

// Ranker ranks, and reuses its memory for the next ranking: with hundreds of
// sites, allocation and garbage collection are a good part of a ranking. The
// zero Ranker is ready; it must not be used by two goroutines at once.
type Ranker struct {
	candidates []Candidate
	order      []key
	text       []byte
}

// Rank is like the function Rank, but the Result is valid only until the next
// call. The strings in it stay valid.
func (r *Ranker) Rank(req Request, sites []Site, chance func() float64) Result {
	r.candidates = slices.Grow(r.candidates[:0], len(sites))[:len(sites)]
	all := r.candidates
	measured := rangeOf(req.RTT)
	for i := range sites {
		all[i] = Candidate{Index: i}
		score(&all[i], &req, &sites[i], measured)
	}
	markDoubts(all, req.Between)
	r.sort()
	serving, _ := slices.BinarySearchFunc(all, true, func(c Candidate, _ bool) int {
		if c.Excluded == "" {
			return -1
		}
		return 1
	})
	drawn := draw(all[:serving], chance)
	// All reasons are parts of one string: one allocation instead of one a site.
	text := r.text[:0]
	for i := range all {
		c := &all[i]
		c.start = int32(len(text))
		text = appendReason(text, c, &req, sites)
		if i == 0 && drawn > 1 {
			text = append(text, "; drawn by spare seats among "...)
			text = appendNumber(text, float64(drawn))
			text = append(text, " equally good sites"...)
		}
		c.end = int32(len(text))
	}
	r.text = text
	reasons := string(text)
	for i := range all {
		all[i].Reason = reasons[all[i].start:all[i].end]
	}
	return Result{Candidates: all, Serving: serving}
}

// draw moves one of the best, which are nearly equal, to the front, weighted by
// spare seats. It returns the number of sites that it chose from.
func draw(serving []Candidate, chance func() float64) int {
	n, total := 0, 0
	for n < len(serving) && serving[n].Score <= serving[0].Score+NearMS {
		if serving[0].Source == Measured && serving[n].Source != Measured {
			break // a guess is not as good as a measurement
		}
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

// key is what a candidate is sorted by: it is small, the candidate is not. The
// score of an excluded site is infinite.
type key struct {
	score float64
	at    int
}

// sort puts the candidates in order. It moves each of them once.
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
	// keys[i].at is the index of the candidate that belongs at i. Follow each cycle.
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

// compare orders by: serving, score, measured, name, index. Of excluded sites
// only name and index count.
func compare(a, b *Candidate) int {
	byFlag := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	if c := byFlag(a.Excluded == "", b.Excluded == ""); c != 0 {
		return c
	}
	if a.Excluded == "" {
		if c := cmp.Or(cmp.Compare(a.Score, b.Score), byFlag(a.Source == Measured, b.Source == Measured)); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(a.Site, b.Site), a.Index-b.Index)
}

// measuredRange is the range of the caller's measurements.
type measuredRange struct {
	nearest float64 // 0 where nothing was measured
	// slower is the least that is assumed of a site that was not measured; 0
	// where nothing was.
	slower float64
}

func rangeOf(rtt map[string]float64) measuredRange {
	near, far := limit+1.0, -1.0
	for _, ms := range rtt {
		if sane(ms) {
			near, far = min(near, ms), max(far, ms)
		}
	}
	if far < 0 {
		return measuredRange{}
	}
	return measuredRange{nearest: near, slower: far + AssumedSlower}
}

// sane is false for NaN, infinities and values that cannot be a time.
func sane(ms float64) bool { return ms >= 0 && ms <= limit }

func count(n int) int { return min(max(n, 0), limit) }
