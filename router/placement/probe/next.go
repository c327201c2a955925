package probe

import (
	"math"
	"slices"
)

// Asked is what was asked of a person so far.
type Asked struct {
	// Entry is the site of the router she reached; it may be empty. Where
	// people are sent to a near router, it is the first to ask.
	Entry string
	// EntryNear says that they are: by latency or geography.
	EntryNear bool
	// RTT is what she measured, in milliseconds by site. Unknown sites and
	// what cannot be a time are passed over.
	RTT map[string]float64
	// Silent are sites that were asked and have not answered yet, and how far
	// each is at least, in milliseconds: it would have answered sooner. They count
	// as asked, and are not asked again.
	Silent map[string]float64
	// Failed names sites that did not answer. They are not asked again.
	Failed []string
	// Unfit names sites that cannot serve her. They are not asked, and never nearest.
	Unfit []string
	// Hints are what others of her neighbourhood have seen.
	Hints []Hint
	// Most is how many sites are asked at most; 0 is the package's Most.
	Most int
	// AtOnce is how many are asked in one go at most; 0 is one. More at once is
	// sooner done and asks a little worse.
	AtOnce int
}

// Hint is what people like her have measured to a site, and how far that may be
// off for her.
type Hint struct {
	Site       string
	RTT, Error float64
}

// Advice is what to do now.
type Advice struct {
	// Probe names the sites to ask next, the best first; none when another
	// answer is not expected to pay.
	Probe []string
	// Nearest is the nearest site that answered and is fit; where there is none,
	// the one that is expected to be. Empty where no site is left.
	Nearest string
	// Gain is what asking Probe's first is expected to gain, in milliseconds.
	Gain float64
}

// Estimate is what a site is expected to measure. Measured is set where it was.
type Estimate struct {
	Site       string
	RTT, Error float64
	Measured   bool
}

// scratch is the room one question needs.
type scratch struct {
	obs, silent []observation // answers and hints; those who would have answered within so much
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

// Next says what to ask next.
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

// tries is how many sites may fail for each answer that was to be had.
const tries = 2

func most(a *Asked) int {
	if a.Most > 0 {
		return a.Most
	}
	return Most
}

// Predict says what every site is expected to measure, in the model's order.
// Nobody having measured anything, nothing is known: it returns none.
func (m *Model) Predict(a Asked) []Estimate {
	s := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	m.read(s, &a)
	if len(s.obs) == 0 {
		return nil
	}
	m.infer(s)
	out := make([]Estimate, len(m.names))
	for i, name := range m.names {
		out[i] = Estimate{Site: name, RTT: s.answer[i], Measured: true}
		if s.state[i]&answered == 0 {
			ms, err := m.predict(s, i)
			out[i] = Estimate{Site: name, RTT: ms, Error: err}
		}
	}
	return out
}

// read sorts out what was asked. It returns the number of answers.
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
	// The nearest say most; more would cost and add nothing.
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

// begin asks the first question.
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
	// Without an answer the entry stands for her.
	nearest, least := -1, math.Inf(1)
	for i := range m.names {
		way := m.mean[i]
		if ok {
			way = m.rtt[entry*len(m.names)+i]
		}
		if s.state[i]&(failed|unfit) == 0 && way < least {
			nearest, least = i, way
		}
	}
	if nearest >= 0 {
		out.Nearest = m.names[nearest]
	}
}

// guess names the site that is expected to be nearest, where none answered that
// is fit, and returns what it is expected to measure.
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
	// An answer is worth having even when it is no surprise.
	return best + certainty
}

// certainty is what it is worth, in milliseconds, to have an answer at all.
const certainty = 20

// choose fills in the sites that are worth asking: each with those before it
// taken as asked, so that two that would say the same are not both chosen.
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

// zero is n zeroes, in the room of buf if that is enough.
func zero[T any](buf []T, n int) []T {
	if cap(buf) < n {
		return make([]T, n)
	}
	buf = buf[:n]
	clear(buf)
	return buf
}
