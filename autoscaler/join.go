package autoscaler

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// join puts together what the brains of a site know of the apps in some node pools, as
// wire.DemandPath says: counts are the largest, arrivals the sum.
func join(answers []wire.Demand, pools []string) ([]sizing.App, error) {
	apps, err := together(answers, pools)
	if err != nil {
		return nil, err
	}
	var out []sizing.App
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		out = append(out, apps[id].app())
	}
	return out, nil
}

// together is what is known of each app, by its id.
func together(answers []wire.Demand, pools []string) (map[string]*joined, error) {
	known := false
	apps := map[string]*joined{}
	for _, d := range answers {
		known = known || d.Known
		for _, one := range d.Apps {
			if !slices.Contains(pools, one.Pool) {
				continue
			}
			if apps[one.App] == nil {
				apps[one.App] = &joined{}
			}
			if err := apps[one.App].add(one); err != nil {
				return nil, fmt.Errorf("brain %s tells of app %s: %w", d.Brain, one.App, err)
			}
		}
	}
	if !known {
		return nil, errors.New("no brain knows its site yet")
	}
	return apps, nil
}

type joined struct {
	sizing.App
	idle, starting int
	windows        [][]sizing.Window // of each brain
}

// limits of what is believed: a brain may be broken.
const (
	mostPeople  = 1e6
	mostWindows = 8
	longest     = 30 * 24 * time.Hour
	mostPlayed  = 200 * 365 * 24 * time.Hour // of all people
)

func (j *joined) add(d wire.AppDemand) error {
	for _, n := range []int{d.Busy, d.Idle, d.Starting, d.Queued, d.Blocked, d.Warm} {
		if n < 0 || n > mostPeople {
			return fmt.Errorf("%d cannot be a number of people or seats", n)
		}
	}
	if d.Played < 0 || d.Played > mostPlayed.Milliseconds() || !(d.Ended >= 0 && d.Ended <= mostPeople) || len(d.Arrivals) > mostWindows {
		return fmt.Errorf("%d ms of playing, %v sessions ended, and %d windows of arrivals", d.Played, d.Ended, len(d.Arrivals))
	}
	var windows []sizing.Window
	for _, a := range d.Arrivals {
		if a.WindowMS <= 0 || a.WindowMS > longest.Milliseconds() || a.Count < 0 || a.Count > mostPeople {
			return fmt.Errorf("%d arrivals in %d ms", a.Count, a.WindowMS)
		}
		windows = append(windows, sizing.Window{Over: time.Duration(a.WindowMS) * time.Millisecond, Count: a.Count})
	}
	j.Busy, j.Queued, j.Blocked, j.Warm = max(j.Busy, d.Busy), max(j.Queued, d.Queued), max(j.Blocked, d.Blocked), max(j.Warm, d.Warm)
	j.idle, j.starting = max(j.idle, d.Idle), max(j.starting, d.Starting)
	if d.Ended > j.Ended || j.Played == 0 {
		j.Played, j.Ended = time.Duration(d.Played)*time.Millisecond, d.Ended
	}
	j.windows = append(j.windows, windows)
	return nil
}

// app adds up the arrivals: the rates of all brains, which may be of different ages, and the
// variances of these. A window of the sum is one in which as many people have that rate and
// that variance.
func (j *joined) app() sizing.App {
	var rates, variances []float64
	for _, windows := range j.windows {
		for i, w := range sizing.OldEnough(windows) {
			if i == len(rates) {
				rates, variances = append(rates, 0), append(variances, 0)
				j.Arrivals = append(j.Arrivals, sizing.Window{})
			}
			n, t := float64(w.Count), w.Over.Seconds()
			rates[i], variances[i] = rates[i]+n/t, variances[i]+n/(t*t)
			j.Arrivals[i].Over = max(j.Arrivals[i].Over, w.Over)
		}
	}
	for i, rate := range rates {
		if rate > 0 {
			count := max(1, math.Round(rate*rate/variances[i]))
			j.Arrivals[i] = sizing.Window{Over: time.Duration(count / rate * float64(time.Second)).Round(time.Millisecond), Count: int(count)}
		}
	}
	return j.App
}
