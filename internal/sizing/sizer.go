package sizing

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Hold keeps a pool from giving nodes back that it would ask for again a moment later: it
// lowers their number only to the most that was needed within the time For. It lowers nothing
// before it has looked for so long. It is not for several goroutines at once.
type Hold struct {
	For time.Duration

	since  time.Time
	needed []need // the most needed first, each after the one before
}

type need struct {
	at    time.Time
	nodes int
}

// Nodes is how many nodes a pool is to have that has now nodes, and needs some.
func (h *Hold) Nodes(now, needed int, at time.Time) int {
	if h.since.IsZero() || at.Before(h.since) {
		h.since, h.needed = at, nil
	}
	for len(h.needed) > 0 && at.Sub(h.needed[0].at) > h.For {
		h.needed = h.needed[1:]
	}
	for len(h.needed) > 0 && h.needed[len(h.needed)-1].nodes <= needed {
		h.needed = h.needed[:len(h.needed)-1]
	}
	h.needed = append(h.needed, need{at, needed})
	if needed >= now {
		return needed
	}
	if at.Sub(h.since) < h.For {
		return now
	}
	return min(now, h.needed[0].nodes)
}

// Sizer decides again and again for one pool. It is not for several goroutines at once.
type Sizer struct {
	Hold

	nodes int       // that the pool had
	stuck time.Time // since when it has had as many, and seats find none
	// Of the seats that find no node: how many there were when the last node more was given, 0 if it
	// helped, and how many no node more has helped.
	gaveAt, hopeless int
	gave             bool      // at the last look
	given            time.Time // when the last node more was given
}

// Decide says how many nodes a pool is to have that has now nodes. Where seats find no node for
// twice the time in which one is ready, the nodes may carry fewer than Pool.SeatsPerNode, and it is
// one node more. Where that does not help, no node of the pool takes these seats, and it is none
// more before there are more of them.
func (s *Sizer) Decide(p Pool, apps []App, now int, at time.Time) Decision {
	d := Nodes(p, apps, now, at)
	n := blocked(apps)
	if n < s.gaveAt || s.gave && now <= s.nodes {
		s.gaveAt = 0 // it helped; or it was not requested, and says nothing
	}
	s.gave = false
	s.hopeless = min(s.hopeless, n)
	if now != s.nodes || n == 0 || s.stuck.IsZero() || at.Before(s.stuck) {
		s.nodes, s.stuck = now, at
	}
	if n > 0 && d.Nodes <= now && at.Sub(s.stuck) >= max(2*p.Ready, time.Minute) && (p.Max == 0 || now < p.Max) {
		if n > max(s.hopeless, s.gaveAt) {
			s.gaveAt, s.hopeless, s.gave, s.given = n, max(s.hopeless, s.gaveAt), true, at
			d.Nodes = now + 1
			d.Reason += fmt.Sprintf("; they found none for %s with %s, so nodes carry fewer seats than %d: one node more",
				at.Sub(s.stuck).Round(time.Second), many(now, "node"), p.SeatsPerNode)
		} else {
			d.Hopeless = max(0, at.Sub(s.given))
			d.Reason += "; one node more did not help: no node of this pool takes them"
		}
	}
	if kept := s.Hold.Nodes(now, d.Nodes, at); kept != d.Nodes {
		d.Reason = fmt.Sprintf("%s, as many as were needed in the last %s; now %s", many(kept, "node"), s.For, d.Reason)
		d.Nodes = kept
	}
	return d
}

// blocked is how many seats no node can take.
func blocked(apps []App) (n int) {
	for _, a := range apps {
		n += a.Blocked
	}
	return n
}

// ParseShare reads a share of people: a percentage such as "1%", or a number such as "0.01".
func ParseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	share, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share > 0 && share < 1) {
		return 0, fmt.Errorf(`must be a share of people above 0%% and below 100%%, such as "1%%"`)
	}
	return share, nil
}
