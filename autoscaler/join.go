package autoscaler

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// youngest is how old a brain counts at least: what came in its first seconds is no rate.
const youngest = time.Minute

// join puts together what the brains of a site know of the apps in some node pools, as
// wire.DemandPath says: counts are the largest, arrivals the sum.
func join(answers []wire.Demand, pools []string) ([]sizing.App, error) {
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
	var out []sizing.App
	for _, id := range slices.Sorted(maps.Keys(apps)) {
		out = append(out, apps[id].app())
	}
	return out, nil
}

type joined struct {
	sizing.App
	windows [][]sizing.Window // of each brain
}

// limits of what is believed: a brain may be broken.
const (
	mostPeople  = 1e6
	mostWindows = 8
	longest     = 30 * 24 * time.Hour
	mostPlayed  = 200 * 365 * 24 * time.Hour // of all people
)

func (j *joined) add(d wire.AppDemand) error {
	for _, n := range []int{d.Busy, d.Queued, d.Blocked, d.Warm} {
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
	if d.Ended > j.Ended || j.Played == 0 {
		j.Played, j.Ended = time.Duration(d.Played)*time.Millisecond, d.Ended
	}
	j.windows = append(j.windows, windows)
	return nil
}

// app adds up the arrivals. A brain that is younger than a window is taken to have had as many
// people a second before.
func (j *joined) app() sizing.App {
	for _, windows := range j.windows {
		for i, w := range windows {
			if i == len(j.Arrivals) {
				j.Arrivals = append(j.Arrivals, sizing.Window{})
			}
			j.Arrivals[i].Over = max(j.Arrivals[i].Over, w.Over, youngest)
		}
	}
	for i := range j.Arrivals {
		sum := 0.0
		for _, windows := range j.windows {
			if i < len(windows) {
				w := windows[i]
				sum += float64(w.Count) * max(1, float64(j.Arrivals[i].Over)/float64(max(w.Over, youngest)))
			}
		}
		j.Arrivals[i].Count = int(sum + .5)
	}
	return j.App
}
