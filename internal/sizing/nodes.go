package sizing

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Pool is what an operator says of a pool of nodes.
type Pool struct {
	SeatsPerNode int
	Min, Max     int           // nodes; no Max is none
	Ready        time.Duration // from the request for a node until it takes people
	Wait         float64       // share of the people that may wait for a node
	// Length is how long sessions are while too few have ended to know; by default 30 minutes.
	Length   time.Duration
	Schedule Schedule
}

// App is what is known of the people of an app.
type App struct {
	Busy, Queued int
	Blocked      int // seats that no node can take
	Warm         int // idle seats that are kept
	// Arrivals are of windows that end now.
	Arrivals []Window
	// Played is how long people played, all together, in a time in which Ended sessions ended.
	Played time.Duration
	Ended  float64
}

// Window is how many people came within a time.
type Window struct {
	Over  time.Duration
	Count int
}

// Decision is how many nodes a pool needs.
type Decision struct {
	Nodes int
	Seats int // for which the nodes are
	// Reason says why, for an operator.
	Reason string
	// Hopeless is how long ago a node more was given that did not help: no node of the pool takes the seats that
	// found none before. 0 where that is not known.
	Hopeless time.Duration
}

const (
	// sure is how many standard deviations a measured rate may be off: one time in ten it is
	// more.
	sure = 1.28
	// rise is the same of a shorter window: at each look, that more came of late counts as a rise one time in
	// four where it is chance. Of the days in bench/capacity, a launch then leaves a third fewer people waiting, and
	// the nodes cost half a percent more.
	rise = .64
	// guess is Pool.Length where it is not given, and guesses for how many sessions it counts
	// beside those that were measured.
	guess   = 30 * time.Minute
	guesses = 4
)

// Check says what is wrong with a pool's settings.
func (p Pool) Check() error {
	switch {
	case p.SeatsPerNode < 1:
		return fmt.Errorf("seats of a node must be 1 or more, not %d", p.SeatsPerNode)
	case !(p.Wait > 0 && p.Wait < 1):
		return fmt.Errorf("the share of people who may wait must be between 0 and 1, such as 0.01, not %v", p.Wait)
	case p.Ready < 0 || p.Length < 0:
		return fmt.Errorf("times must not be negative")
	case p.Min < 0 || p.Max > 0 && p.Max < p.Min:
		return fmt.Errorf("at least %d and at most %d nodes cannot be", p.Min, p.Max)
	}
	return nil
}

// load is what is expected of a pool's people.
type load struct {
	people, busy, blocked int
	rate                  float64 // arrivals a second, as measured
	mean, variance        float64 // of the people at the time T
	spread                float64 // variance of mean, as rates are not certain
	warm                  float64 // seats that nobody else can use
}

func (p Pool) load(apps []App) (l load) {
	t := p.Ready.Seconds()
	for _, a := range apps {
		length := p.length(a).Seconds()
		rate, doubt := rateOf(a.Arrivals)
		n := float64(a.Busy + a.Queued)
		stay := math.Exp(-t / length)
		come := rate * length * (1 - stay)
		l.people, l.busy, l.blocked = l.people+a.Busy+a.Queued, l.busy+a.Busy, l.blocked+a.Blocked
		l.rate += rate
		l.mean += n*stay + come
		l.variance += n*stay*(1-stay) + come
		l.spread += math.Pow(doubt*length*(1-stay), 2)
		l.warm += max(0, float64(a.Warm)-rate*t)
	}
	return l
}

// rateOf is how many people come a second, and its standard deviation. More people in any window
// never make rate + sure·doubt less.
func rateOf(windows []Window) (rate, doubt float64) {
	if len(windows) == 0 {
		return 0, 0
	}
	shorter, last := windows[:len(windows)-1], windows[len(windows)-1]
	if over, n := last.Over.Seconds(), float64(last.Count); over > 0 {
		rate, doubt = n/over, math.Sqrt(n)/over
	}
	for _, w := range shorter {
		over, n := w.Over.Seconds(), float64(w.Count)
		if over <= 0 {
			continue
		}
		if likely := (n - rise*math.Sqrt(n)) / over; likely > rate {
			rate, doubt = likely, max(0, doubt-(likely-rate)/sure)
		}
	}
	return rate, doubt
}

// Arrivals in a young brain's first minutes are no rate.
const (
	youngLast  = 5 * time.Minute // least time of the last window, which counts also if it is not surely a rise
	youngOther = time.Minute
)

// OldEnough is windows none of which is so short that one person in it looks like a crowd: the
// last one is of five minutes at least, and the others are of one.
func OldEnough(windows []Window) []Window {
	out := slices.Clone(windows)
	for i := range out {
		least := youngOther
		if i == len(out)-1 {
			least = youngLast
		}
		out[i].Over = max(out[i].Over, least)
	}
	return out
}

// length is how long a session of an app is on average.
func (p Pool) length(a App) time.Duration {
	prior := p.Length
	if prior <= 0 {
		prior = guess
	}
	return max(time.Second, time.Duration(float64(guesses*prior+a.Played)/(guesses+max(0, a.Ended))))
}

// Nodes says how many nodes a pool needs at a moment, where it has some now. It never takes
// away those that the people who play need, also above the limit.
func Nodes(p Pool, apps []App, now int, at time.Time) Decision {
	l := p.load(apps)
	per := max(1, p.SeatsPerNode)
	more := sure * math.Sqrt(l.spread)
	mean, variance := l.mean+more, l.variance+more
	certain := math.Floor(max(0, mean-variance))
	seats := int(certain) + Seats(mean-certain, p.Wait)
	seats = max(seats, l.people)
	warm := int(math.Ceil(l.warm))
	var why strings.Builder
	fmt.Fprintf(&why, "%s now, %.1f come a minute, %.0f are expected in %s: %s, so that at most %.2g %% wait",
		many(l.people, "person"), 60*l.rate, mean, p.Ready, many(seats, "seat"), 100*p.Wait)
	if warm > 0 {
		fmt.Fprintf(&why, ", and %d warm", warm)
	}
	seats += warm
	if least, window := p.Schedule.seats(at, p.Ready); least > seats {
		seats = least
		fmt.Fprintf(&why, "; the schedule %q has %s at least", window, many(least, "seat"))
	}
	nodes := (seats + per - 1) / per
	limited := max(nodes, p.Min)
	if p.Max > 0 && limited > p.Max {
		limited = p.Max
		// What is above the limit ends with its people.
		if least := (l.busy + per - 1) / per; limited < now && limited < least {
			limited = min(now, least)
		}
	}
	switch {
	case limited == nodes:
	case p.Max > 0:
		fmt.Fprintf(&why, "; that would be %s, and %d to %d are allowed", many(nodes, "node"), p.Min, p.Max)
	default:
		fmt.Fprintf(&why, "; that would be %s, and %d is the least", many(nodes, "node"), p.Min)
	}
	if l.blocked > 0 {
		fmt.Fprintf(&why, "; no node takes %s", many(l.blocked, "seat"))
	}
	return Decision{Nodes: limited, Seats: seats, Reason: fmt.Sprintf("%s of %s: %s", many(limited, "node"), many(per, "seat"), why.String())}
}

// many is a number of things, in words.
func many(n int, one string) string {
	switch {
	case n == 1:
		return "1 " + one
	case one == "person":
		return fmt.Sprint(n, " people")
	}
	return fmt.Sprint(n, " ", one, "s")
}
