package probe

import (
	"math"
	"slices"
)

// Asked is what a person's browser has measured so far.
type Asked struct {
	// Entry is the site of the router that the person reached; it may be empty.
	Entry string
	// EntryNear says that people are sent to a near router, by latency or
	// geography: the entry is then the first to be probed.
	EntryNear bool
	// RTT is what was measured, in milliseconds by site. Unknown sites and values
	// that cannot be a time are ignored.
	RTT map[string]float64
	// Silent are sites that were probed and have not answered yet, and the least
	// that each can be away, in milliseconds. They count as probed, and are not
	// probed again.
	Silent map[string]float64
	// Failed names sites that did not answer. They are not probed again.
	Failed []string
	// Unfit names sites that cannot serve the person. They are not probed, and
	// never nearest.
	Unfit []string
	// Hints are what other people of the same network have measured.
	Hints []Hint
	// Most is how many sites are probed at most; 0 is the package's Most.
	Most int
	// AtOnce is how many sites are probed at the same time at most; 0 is one. More
	// is faster and chooses slightly worse.
	AtOnce int
}

// Hint is what other people have measured to a site, and its error for this one.
type Hint struct {
	Site       string
	RTT, Error float64
}

// Advice is what to do now.
type Advice struct {
	// Probe names the sites to probe next, the best first; none when no probe is
	// expected to be worth it.
	Probe []string
	// Nearest is the nearest fit site that answered; where none did, the one that
	// is expected to be nearest. Empty where no site is left.
	Nearest string
	// Gain is what the first of Probe is expected to gain, in milliseconds.
	Gain float64
}

// scratch is the working memory of one call of Next.
type scratch struct {
	obs, silent []observation // answers and hints; silent sites with the least they are away
	state       []uint8
	answer      []float64
	weight      []float64
	offset      []float64
	gain        []float64
	low         []float64
	chol, y     []float64
	mean, sd    []float64
	solved      []float64
}

// observation is an answer, or a hint.
type observation struct {
	site    int
	ms, err float64
}

const (
	answered uint8 = 1 << iota
	silent
	failed
	unfit
)

// Next says which sites to probe next.
func (m *Model) Next(a Asked) Advice {
	s := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	answers := m.read(s, &a)
	n := len(m.names)

	best, at := math.Inf(1), -1
	for i := range n {
		if s.state[i]&(answered|unfit) == answered && s.answer[i] < best {
			best, at = s.answer[i], i
		}
	}
	var out Advice
	if at >= 0 {
		out.Nearest = m.names[at]
	}
	if len(s.obs) == 0 {
		m.begin(s, &a, &out)
		return out
	}
	m.infer(s)
	if at < 0 {
		best = m.guess(s, &out)
	}
	left := most(&a) - answers - len(s.silent)
	if len(a.Failed) >= tries*most(&a) {
		left = 0
	}
	m.choose(s, best, max(1, a.AtOnce), left, &out)
	return out
}

// tries is how many sites may fail for each answer that is wanted.
const tries = 2

func most(a *Asked) int {
	if a.Most > 0 {
		return a.Most
	}
	return Most
}

// read checks and sorts what was measured. It returns the number of answers.
func (m *Model) read(s *scratch, a *Asked) int {
	n := len(m.names)
	s.state = zero(s.state, n)
	s.answer = zero(s.answer, n)
	s.obs, s.silent = s.obs[:0], s.silent[:0]
	for i, name := range m.names {
		if ms, ok := a.RTT[name]; ok && sane(ms) {
			s.state[i], s.answer[i] = answered, ms
			s.obs = append(s.obs, observation{i, ms, answerError})
		} else if ms, ok := a.Silent[name]; ok && sane(ms) {
			s.state[i] = silent
			s.silent = append(s.silent, observation{i, ms, answerError})
		}
	}
	answers := len(s.obs)
	for _, h := range a.Hints {
		i, ok := m.index[h.Site]
		if ok && sane(h.RTT) && sane(h.Error) && s.state[i]&answered == 0 {
			s.obs = append(s.obs, observation{i, h.RTT, max(h.Error, answerError)})
		}
	}
	// The nearest say most; more would cost time and add nothing.
	const enough = 32
	if len(s.obs) > enough {
		slices.SortFunc(s.obs, func(a, b observation) int {
			if a.ms != b.ms {
				if a.ms < b.ms {
					return -1
				}
				return 1
			}
			return a.site - b.site
		})
		s.obs = s.obs[:enough]
	}
	m.mark(s, a.Failed, failed)
	m.mark(s, a.Unfit, unfit)
	return answers
}

func (m *Model) mark(s *scratch, names []string, as uint8) {
	for _, name := range names {
		if i, ok := m.index[name]; ok {
			s.state[i] |= as
		}
	}
}

// begin chooses the first probes.
func (m *Model) begin(s *scratch, a *Asked, out *Advice) {
	entry, ok := m.index[a.Entry]
	ask := func(i int) {
		if s.state[i] == 0 && len(out.Probe) < max(1, a.AtOnce) && !slices.Contains(out.Probe, m.names[i]) {
			out.Probe = append(out.Probe, m.names[i])
			out.Gain = unknownRTT
		}
	}
	if len(a.Failed) < tries*most(a) {
		if ok && a.EntryNear {
			ask(entry)
		}
		for _, i := range m.central {
			ask(i)
		}
		for i := range m.names {
			ask(i)
		}
	}
	// Before any answer, the entry stands for the person.
	nearest, least := -1, math.Inf(1)
	for i := range m.names {
		distance := m.mean[i]
		if ok {
			distance = m.rtt[entry*len(m.names)+i]
		}
		if s.state[i]&(failed|unfit) == 0 && distance < least {
			nearest, least = i, distance
		}
	}
	if nearest >= 0 {
		out.Nearest = m.names[nearest]
	}
}

// guess names the site that is expected to be nearest, where no fit site has
// answered, and returns the round trip that is expected.
func (m *Model) guess(s *scratch, out *Advice) float64 {
	best := math.Inf(1)
	for i := range m.names {
		if s.state[i]&(failed|unfit|answered) != 0 {
			continue
		}
		if ms, _ := m.predict(s, i); ms < best {
			best, out.Nearest = ms, m.names[i]
		}
	}
	if math.IsInf(best, 1) {
		return best
	}
	// An answer is worth something even when it is as expected.
	return best + certainty
}

// certainty is what any answer is worth, in milliseconds, while there is none.
const certainty = 20

// choose fills in the sites that are worth a probe. For each, those before it
// count as probed, so that two that would say the same are not both chosen.
func (m *Model) choose(s *scratch, best float64, count, left int, out *Advice) {
	n := len(m.names)
	s.low = zero(s.low, n) // by hypothesis: the least answer there will be
	for h := range s.low {
		s.low[h] = best
	}
	field := m.fieldWeight(s)
	taken := make([]int, 0, 4)
	for range min(count, left) {
		m.gains(s, best, field, taken)
		at, most := -1, 0.0
		for i := range n {
			if s.state[i] == 0 && s.gain[i] > most && !slices.Contains(taken, i) {
				at, most = i, s.gain[i]
			}
		}
		if at < 0 || most < PayMS {
			return
		}
		if len(taken) == 0 {
			out.Gain = most
		}
		taken = append(taken, at)
		out.Probe = append(out.Probe, m.names[at])
		for h := range s.low {
			s.low[h] = min(s.low[h], m.rtt[h*n+at]+s.offset[h])
		}
	}
}

// zero returns n zeroes, in the memory of buf if it is large enough.
func zero[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	buf = buf[:n]
	clear(buf)
	return buf
}
