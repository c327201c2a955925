package brain

import (
	"math"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// arrivalStep is how exactly it is known when people came.
const arrivalStep = 10 * time.Second

// arrivalWindows are the windows in which arrivals are counted. The short one shows a rise
// soon, and the long one is more exact.
var arrivalWindows = [...]time.Duration{2 * time.Minute, 10 * time.Minute}

// arrivals counts the people who came to this replica for an app of late. The zero value has
// counted nobody.
type arrivals struct {
	steps [60]int // by time in arrivalStep, as a ring
	last  int64   // the newest of them
}

// add counts one person.
func (a *arrivals) add(now time.Time) {
	a.forward(now)
	a.steps[a.last%int64(len(a.steps))]++
}

// forward forgets what is older than the ring. A clock that was put back a little adds to the
// newest step. After more, nothing is known: the newest step would be in the future for as long.
func (a *arrivals) forward(now time.Time) {
	step := now.UnixNano() / int64(arrivalStep)
	if step-a.last >= int64(len(a.steps)) || a.last-step > 1 {
		a.steps, a.last = [60]int{}, step
	}
	for a.last < step {
		a.last++
		a.steps[a.last%int64(len(a.steps))] = 0
	}
}

// turnover is how long people had seats of an app, and how many sessions ended, within
// turnoverKept or so.
type turnover struct {
	played, ended float64 // seconds, sessions
	at            time.Time
}

const turnoverKept = time.Hour

// forward counts the time until now, in which so many people played.
func (t *turnover) forward(busy int, now time.Time) {
	if passed := now.Sub(t.at).Seconds(); !t.at.IsZero() && passed > 0 {
		left := math.Exp(-passed / turnoverKept.Seconds())
		t.played = t.played*left + float64(busy)*passed
		t.ended *= left
	}
	t.at = now
}

// within is how many people came within a window, which is not longer than this replica has
// run. age is for how long it has: the clock may have been put back since it started.
func (a *arrivals) within(window, age time.Duration, now time.Time) wire.Arrivals {
	a.forward(now)
	steps, count := int64(window/arrivalStep), 0
	for step := a.last - steps + 1; step <= a.last; step++ {
		if step >= 0 {
			count += a.steps[step%int64(len(a.steps))]
		}
	}
	// The newest step is not over.
	began := time.Unix(0, (a.last-steps+1)*int64(arrivalStep))
	return wire.Arrivals{WindowMS: max(1, min(now.Sub(began), age).Milliseconds()), Count: count}
}
