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

// Keeper decides again and again for one pool. It is not for several goroutines at once.
type Keeper struct {
	Hold

	nodes int       // that the pool had
	stuck time.Time // since when it has had as many, and seats find none
}

// Decide says how many nodes a pool is to have that has now nodes. Where seats find no node for
// twice the time in which one is ready, the nodes carry fewer than Pool.SeatsPerNode, and it is one node
// more.
func (k *Keeper) Decide(p Pool, apps []App, now int, at time.Time) Decision {
	d := Nodes(p, apps, now, at)
	if now != k.nodes || !blocked(apps) || k.stuck.IsZero() || at.Before(k.stuck) {
		k.nodes, k.stuck = now, at
	}
	if blocked(apps) && d.Nodes <= now && at.Sub(k.stuck) >= max(2*p.Ready, time.Minute) && (p.Max == 0 || now < p.Max) {
		d.Nodes = now + 1
		d.Reason += fmt.Sprintf("; they found none for %s with %d nodes, so nodes carry fewer seats than %d: one node more",
			at.Sub(k.stuck).Round(time.Second), now, p.SeatsPerNode)
	}
	if kept := k.Hold.Nodes(now, d.Nodes, at); kept != d.Nodes {
		d.Reason = fmt.Sprintf("%d nodes, as many as were needed in the last %s; now %s", kept, k.For, d.Reason)
		d.Nodes = kept
	}
	return d
}

func blocked(apps []App) bool {
	for _, a := range apps {
		if a.Blocked > 0 {
			return true
		}
	}
	return false
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
