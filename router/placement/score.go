package placement

import (
	"slices"
	"strings"
)

// score fills in a candidate's numbers, and why the site is excluded if it is.
func score(c *Candidate, req *Request, s *Site, measured measuredRange) {
	c.Site = s.Name
	roundTrip(c, req, s, measured)

	idle, busy, starting := count(s.Idle), count(s.Busy), count(s.Starting)
	queued, most := count(s.Queued), count(s.Max)
	c.Excluded = exclude(req, s, c.RTT, idle, most)
	if c.Excluded == NoApp || c.Excluded == NoVersion {
		c.Score = c.RTT
		return // the site has no numbers for this app or version
	}

	cold := s.ColdStart
	if !sane(cold) || cold == 0 {
		cold = AssumedColdStart
	}
	more := max(0, most-idle-busy-starting)
	// People get seats in order: those who wait already come first.
	free := idle - queued
	coming := free + starting
	switch {
	case free > 0:
		c.seat, c.spare = seatIdle, free
	case coming > 0:
		c.seat, c.spare, c.Wait = seatStarting, coming, cold/2
	case coming+more > 0:
		c.seat, c.spare, c.Wait = seatCold, coming+more, cold
	default:
		// A seat serves one session. So each step of the queue is a session that
		// ends and a seat that starts. Sessions are assumed to end at even intervals.
		session := s.Session
		if !sane(session) || session == 0 {
			session = AssumedSession
		}
		c.ahead = -(coming + more)
		c.seat = seatQueue
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
	case len(req.Residency) > 0 && !overlap(req.Residency, s.Residency):
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

// overlap and has ignore case: people write both "EU" and "eu".
func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(name string) bool { return has(b, name) })
}

func has(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

func roundTrip(c *Candidate, req *Request, s *Site, measured measuredRange) {
	if ms, ok := req.RTT[s.Name]; ok && sane(ms) {
		c.RTT, c.Source, c.claimed = max(ms, FloorMS), Measured, ms
		return
	}
	if sane(s.PredictedRTT) && s.PredictedRTT > 0 {
		c.RTT, c.Source = max(s.PredictedRTT, measured.nearest), Predicted
		if sane(s.PredictedError) {
			c.Error = s.PredictedError
		}
		return
	}
	assumed := float64(AssumedFar)
	if s.Name == req.Entry {
		assumed = AssumedNear
	}
	c.RTT, c.Source = max(assumed, measured.slower), Assumed
	c.Error = c.RTT // it may be anything
}
