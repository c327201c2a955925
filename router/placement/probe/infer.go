package probe

import "math"

// infer weights the hypotheses and solves the field for what was observed.
func (m *Model) infer(s *scratch) {
	m.neighbours(s)
	m.field(s)
}

// neighbours computes, for each site h, how likely it is that the person sees the
// Internet as h does, and with which last mile.
func (m *Model) neighbours(s *scratch) {
	n := len(m.names)
	s.weight, s.offset = zero(s.weight, n), zero(s.offset, n)
	top := math.Inf(-1)
	for h := range n {
		row, off := m.rtt[h*n:h*n+n], m.off[h*n:h*n+n]
		prior := 1.0 / (lastMileError * lastMileError)
		sum, precision := lastMile*prior, prior
		for _, o := range s.obs {
			p := 1 / m.variance(o, off[o.site])
			sum += p * (o.ms - row[o.site])
			precision += p
		}
		mile := max(0, sum/precision)
		likely := 1.0
		log := 0.0
		for k, o := range s.obs {
			miss := o.ms - row[o.site] - mile
			likely *= 1 + miss*miss/(tails*m.variance(o, off[o.site]))
			if k%8 == 7 { // before it overflows
				log -= math.Log(likely)
				likely = 1
			}
		}
		log -= math.Log(likely)
		likely = 1
		for k, o := range s.silent {
			if miss := o.ms - row[o.site] - mile; miss > 0 { // the site should have answered by now
				likely *= 1 + miss*miss/(tails*m.variance(o, off[o.site]))
			}
			if k%8 == 7 {
				log -= math.Log(likely)
				likely = 1
			}
		}
		log -= math.Log(likely)
		log *= (tails + 1) / 2.0
		odd := (mile - lastMile) / lastMileError
		log -= odd * odd / 2
		s.weight[h], s.offset[h] = log, mile
		top = max(top, log)
	}
	total := 0.0
	for h := range n {
		w := math.Exp(s.weight[h] - top)
		s.weight[h] = w
		total += w
	}
	for h := range n {
		s.weight[h] /= total
	}
}

// variance is the squared difference between the answers of two neighbours: the
// farther the site, the larger it is.
func (m *Model) variance(o observation, off float64) float64 {
	sight := sightError + m.sight*o.ms
	return sight*sight + off*off + o.err*o.err - answerError*answerError
}

// field solves the Gaussian process: mean and standard deviation of every site,
// given what was observed. In a valid covariance, the variance that is left of an
// observation is at least its own noise. Distances that break the triangle inequality
// have a covariance that no field has: where less is left, the observation counts for
// nothing (its pivot in s.chol is 0), or numbers would grow without end.
func (m *Model) field(s *scratch) {
	n, k := len(m.names), len(s.obs)
	s.chol, s.y = zero(s.chol, k*k), zero(s.y, k)
	for a, oa := range s.obs {
		for b, ob := range s.obs[:a] {
			s.chol[a*k+b] = over(m.cov[oa.site*n+ob.site]-dot(s.chol[a*k:], s.chol[b*k:], b), s.chol[b*k+b])
		}
		own := m.cov[oa.site*n+oa.site]
		noise := oa.err*oa.err + 0.01*own
		if pivot := own + noise - dot(s.chol[a*k:], s.chol[a*k:], a); pivot >= noise {
			s.chol[a*k+a] = math.Sqrt(pivot)
		}
		s.y[a] = over(oa.ms-m.mean[oa.site]-dot(s.chol[a*k:], s.y, a), s.chol[a*k+a])
	}
	s.mean, s.sd, s.solved = zero(s.mean, n), zero(s.sd, n), zero(s.solved, k)
	for i := range n {
		if s.state[i]&answered != 0 {
			continue
		}
		mean, rest := m.mean[i], m.cov[i*n+i]
		for a, o := range s.obs {
			w := over(m.cov[i*n+o.site]-dot(s.chol[a*k:], s.solved, a), s.chol[a*k+a])
			s.solved[a] = w
			mean += w * s.y[a]
			rest -= w * w
		}
		s.mean[i], s.sd[i] = min(max(mean, 0), MaxRTT), math.Sqrt(max(rest, 1))
	}
}

// dot is the sum of the products of the first n numbers.
func dot(a, b []float64, n int) (sum float64) {
	a, b = a[:n], b[:n]
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

// over divides by a pivot; 0 where it counts for nothing.
func over(x, pivot float64) float64 {
	if pivot == 0 {
		return 0
	}
	return x / pivot
}

// fieldWeight is the weight of the field; the rest is the neighbours'.
func (m *Model) fieldWeight(s *scratch) float64 {
	return min(fieldTo, float64(len(s.obs))/fieldAt)
}

// predict is the round trip that is expected to a site, and its standard
// deviation, in the mixture of both models.
func (m *Model) predict(s *scratch, i int) (ms, err float64) {
	n := len(m.names)
	field := m.fieldWeight(s)
	mean, square := 0.0, 0.0
	for h, w := range s.weight {
		if w < 1e-4 {
			continue
		}
		x := m.rtt[h*n+i] + s.offset[h]
		sd := sightError + m.sight*m.rtt[h*n+i] + m.off[h*n+i]
		mean += w * x
		square += w * (x*x + sd*sd)
	}
	ms = (1-field)*mean + field*s.mean[i]
	square = (1-field)*square + field*(s.mean[i]*s.mean[i]+s.sd[i]*s.sd[i])
	return ms, math.Sqrt(max(0, square-ms*ms))
}

// gains computes what a probe of each site is expected to gain, given the least
// answer so far and the sites already taken.
func (m *Model) gains(s *scratch, best, field float64, taken []int) {
	n := len(m.names)
	s.gain = zero(s.gain, n)
	for h, w := range s.weight {
		if w < 1e-3/float64(n) {
			continue
		}
		w *= 1 - field
		row := m.rtt[h*n : h*n+n]
		below := s.low[h] - s.offset[h]
		for i, ms := range row {
			// Without m.off: else far sites would be probed for being unknown.
			sd := sightError + m.sight*ms
			if d := below - ms; d > -3*sd {
				s.gain[i] += w * sd * improvement(d/sd)
			}
		}
	}
	for i := range n {
		if s.state[i] != 0 {
			continue
		}
		if d := best - s.mean[i]; d > -3*s.sd[i] {
			part := field
			for _, t := range taken {
				like := m.cov[i*n+t]
				part *= max(0, 1-like*like/(m.cov[i*n+i]*m.cov[t*n+t]))
			}
			s.gain[i] += part * s.sd[i] * improvement(d/s.sd[i])
		}
	}
}

// improvement is E[max(0, z + X)] of a standard normal X, z·Φ(z) + φ(z), from a
// table: each call of Next needs it tens of thousands of times.
func improvement(z float64) float64 {
	if z >= improvementTo {
		return z
	}
	if z <= -improvementTo {
		return 0
	}
	at := (z + improvementTo) * improvementStep
	i := int(at)
	part := at - float64(i)
	return improvements[i]*(1-part) + improvements[i+1]*part
}

const (
	improvementTo   = 4
	improvementStep = 64
)

var improvements = func() (table [2*improvementTo*improvementStep + 2]float64) {
	for i := range table {
		z := float64(i)/improvementStep - improvementTo
		table[i] = z*0.5*math.Erfc(-z/math.Sqrt2) + math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
	}
	return table
}()
