package placement

import (
	"slices"
	"strconv"
	"strings"
)

// weigh fills in a candidate's numbers, and why it is left out if it is.
func weigh(c *Candidate, req *Request, s *Site, known seen) {
	c.Site = s.Name
	roundTrip(c, req, s, known)

	idle, busy, starting := count(s.Idle), count(s.Busy), count(s.Starting)
	queued, most := count(s.Queued), count(s.Max)
	c.Excluded = exclude(req, s, c.RTT, idle, most)
	if c.Excluded == NoApp || c.Excluded == NoVersion {
		c.Score = c.RTT
		return // the numbers would be those of nothing, or of something else
	}

	cold := s.ColdStart
	if !sane(cold) || cold == 0 {
		cold = AssumedColdStart
	}
	room := max(0, most-idle-busy-starting)
	// Seats go to people in turn: those who wait already come first.
	free := idle - queued
	coming := free + starting
	switch {
	case free > 0:
		c.stand, c.spare = waitNone, free
	case coming > 0:
		c.stand, c.spare, c.Wait = waitStarting, coming, cold/2
	case coming+room > 0:
		c.stand, c.spare, c.Wait = waitCold, coming+room, cold
	default:
		// A seat serves one session, so each turn is a session that ends and a
		// seat that starts in its stead. Sessions end at even intervals as far
		// as anybody knows.
		session := s.Session
		if !sane(session) || session == 0 {
			session = AssumedSession
		}
		c.ahead = -(coming + room)
		c.stand = waitQueue
		c.Wait = cold + session*float64(c.ahead+1)/float64(max(1, most))
	}
	c.Wait = float64(int64(c.Wait + 0.5))
	if most > 0 {
		used := min(1, float64(busy+queued)/float64(most))
		c.Load = float64(int64(CrowdedMS*used*used*10+0.5)) / 10
	}
	c.Score = c.RTT + c.Wait + c.Load
}

func exclude(req *Request, s *Site, rtt float64, idle, most int) Exclusion {
	switch {
	case slices.Contains(req.Deny, s.Name):
		return Denied
	case len(req.Allow) > 0 && !slices.Contains(req.Allow, s.Name):
		return NotAllowed
	case slices.Contains(req.Lost, s.Name):
		return Lost
	case len(req.Residency) > 0 && !meet(req.Residency, s.Residency):
		return NoResidency
	case req.GPU != "" && !has(s.GPU, req.GPU):
		return NoGPU
	case !s.Present:
		return NoApp
	case req.Version != 0 && s.Version != req.Version:
		return NoVersion
	case !s.Healthy:
		return NoBrain
	case req.MaxRTT > 0 && rtt > req.MaxRTT:
		return TooFar
	case idle > 0:
		return ""
	case most == 0:
		return NoSeats
	case s.Failing != "":
		return Failing
	}
	return ""
}

// meet and has compare names as people write them, "EU" and "eu".
func meet(a, b []string) bool {
	return slices.ContainsFunc(a, func(name string) bool { return has(b, name) })
}

func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

func roundTrip(c *Candidate, req *Request, s *Site, known seen) {
	if ms, ok := req.RTT[s.Name]; ok && sane(ms) {
		c.RTT, c.Source, c.claimed = max(ms, FloorMS), Measured, ms
		return
	}
	if sane(s.PredictedRTT) && s.PredictedRTT > 0 {
		c.RTT, c.Source = max(s.PredictedRTT, known.nearest), Predicted
		if sane(s.PredictedError) {
			c.Error = s.PredictedError
		}
		return
	}
	near := float64(AssumedFar)
	if s.Name == req.Entry {
		near = AssumedNear
	}
	c.RTT, c.Source = max(near, known.silent), Assumed
	c.Error = c.RTT // it may be anything
}

// explain appends why a candidate stands where it stands.
func explain(b []byte, c *Candidate, req *Request, sites []Site) []byte {
	s := &sites[c.Index]
	if c.Excluded != "" {
		b = append(b, c.Excluded...)
		switch c.Excluded {
		case NoResidency:
			b = list(append(b, ": it lies in "...), s.Residency)
			b = list(append(b, ", not in "...), req.Residency)
		case NoGPU:
			b = list(append(b, ": it has "...), s.GPU)
			b = append(b, ", not "...)
			b = append(b, req.GPU...)
		case NoVersion:
			b = append(b, ": it has "...)
			b = strconv.AppendUint(b, s.Version, 10)
			b = append(b, ", not "...)
			b = strconv.AppendUint(b, req.Version, 10)
		case TooFar:
			b = append(b, ": "...)
			b = ms(b, c.RTT)
			b = append(b, ' ')
			b = append(b, c.Source...)
			b = append(b, ", at most "...)
			b = ms(b, req.MaxRTT)
		case Failing:
			b = append(b, ": "...)
			b = append(b, s.Failing...)
		}
		return b
	}
	b = ms(b, c.RTT)
	b = append(b, " away ("...)
	b = append(b, c.Source...)
	if c.Error > 0 && c.Source == Predicted {
		b = ms(append(b, " ± "...), c.Error)
	}
	if c.claimed < c.RTT && c.Source == Measured {
		b = ms(append(b, " as "...), c.claimed)
		b = append(b, ", which cannot be"...)
	}
	if c.Doubt {
		b = append(b, "; does not fit what was measured to "...)
		b = append(b, sites[c.against].Name...)
	}
	b = append(b, "), "...)
	switch c.stand {
	case waitNone:
		b = seats(b, c.spare)
		b = append(b, " ready"...)
	case waitStarting:
		b = seats(b, c.spare)
		b = append(b, " starting, ready in about "...)
		b = ms(b, c.Wait)
	case waitCold:
		b = append(b, "a seat must be started, which takes about "...)
		b = ms(b, c.Wait)
	case waitQueue:
		b = append(b, "all seats are taken, "...)
		b = number(b, float64(c.ahead))
		b = append(b, " waiting"...)
	}
	if c.stand != waitNone && (!sane(s.ColdStart) || s.ColdStart == 0) {
		b = append(b, " (assumed)"...)
	}
	if c.Load > 0 {
		b = append(b, ", crowded: "...)
		b = append(b, '+')
		b = ms(b, c.Load)
	}
	return b
}

// list writes names, "eu or de", or "none".
func list(b []byte, names []string) []byte {
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

func seats(b []byte, n int) []byte {
	b = number(b, float64(n))
	if n == 1 {
		return append(b, " seat"...)
	}
	return append(b, " seats"...)
}

func ms(b []byte, v float64) []byte { return append(number(b, v), " ms"...) }

// number writes a number, which is not negative, with at most one decimal.
func number(b []byte, v float64) []byte {
	tenths := int64(v*10 + 0.5)
	b = strconv.AppendInt(b, tenths/10, 10)
	if tenths%10 != 0 {
		b = append(b, '.', byte('0'+tenths%10))
	}
	return b
}
