package placement

import "strconv"

// appendReason appends why a candidate has its place.
func appendReason(b []byte, c *Candidate, req *Request, sites []Site) []byte {
	s := &sites[c.Index]
	if c.Excluded != "" {
		return appendExclusion(b, c, req, s)
	}
	b = appendMS(b, c.RTT)
	b = append(b, " away ("...)
	b = append(b, c.Source...)
	if c.Error > 0 && c.Source == Predicted {
		b = appendMS(append(b, " ± "...), c.Error)
	}
	if c.claimed < c.RTT && c.Source == Measured {
		b = appendMS(append(b, " as "...), c.claimed)
		b = append(b, ", which is impossible"...)
	}
	if c.Doubt {
		b = append(b, "; contradicts the measurement to "...)
		b = append(b, sites[c.against].Name...)
	}
	b = append(b, "), "...)
	switch c.seat {
	case seatIdle:
		b = appendSeats(b, c.spare)
		b = append(b, " ready"...)
	case seatStarting:
		b = appendSeats(b, c.spare)
		b = append(b, " starting, ready in about "...)
		b = appendMS(b, c.Wait)
	case seatCold:
		b = append(b, "a seat must be started, which takes about "...)
		b = appendMS(b, c.Wait)
	case seatQueue:
		b = append(b, "all seats are taken, "...)
		b = appendNumber(b, float64(c.ahead))
		b = append(b, " waiting"...)
	}
	if c.seat != seatIdle && (!sane(s.ColdStart) || s.ColdStart == 0) {
		b = append(b, " (assumed)"...)
	}
	if c.Load > 0 {
		b = append(b, ", crowded: +"...)
		b = appendMS(b, c.Load)
	}
	return b
}

// appendExclusion appends the rule that excludes a site, and by how much.
func appendExclusion(b []byte, c *Candidate, req *Request, s *Site) []byte {
	b = append(b, c.Excluded...)
	switch c.Excluded {
	case NoResidency:
		b = appendNames(append(b, ": it is in "...), s.Residency)
		b = appendNames(append(b, ", not in "...), req.Residency)
	case NoGPU:
		b = appendNames(append(b, ": it has "...), s.GPU)
		b = append(b, ", not "...)
		b = append(b, req.GPU...)
	case NoVersion:
		b = append(b, ": it has "...)
		b = strconv.AppendUint(b, s.Version, 10)
		b = append(b, ", not "...)
		b = strconv.AppendUint(b, req.Version, 10)
	case TooFar:
		b = append(b, ": "...)
		b = appendMS(b, c.RTT)
		b = append(b, ' ')
		b = append(b, c.Source...)
		b = append(b, ", at most "...)
		b = appendMS(b, req.MaxRTT)
	case Failing:
		b = append(b, ": "...)
		b = append(b, s.Failing...)
	}
	return b
}

// appendNames appends names, "eu or de", or "none".
func appendNames(b []byte, names []string) []byte {
	if len(names) == 0 {
		return append(b, "none"...)
	}
	for i, name := range names {
		if i > 0 {
			b = append(b, " or "...)
		}
		b = append(b, name...)
	}
	return b
}

func appendSeats(b []byte, n int) []byte {
	b = appendNumber(b, float64(n))
	if n == 1 {
		return append(b, " seat"...)
	}
	return append(b, " seats"...)
}

func appendMS(b []byte, v float64) []byte { return append(appendNumber(b, v), " ms"...) }

// appendNumber appends a number that is not negative, with at most one decimal.
func appendNumber(b []byte, v float64) []byte {
	tenths := int64(v*10 + 0.5)
	b = strconv.AppendInt(b, tenths/10, 10)
	if tenths%10 != 0 {
		b = append(b, '.', byte('0'+tenths%10))
	}
	return b
}
