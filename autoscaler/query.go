package autoscaler

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/sizing"
	"github.com/nearcast/nearcast/internal/wire"
)

// query is what a check asks: POOLS, or FIGURE/POOLS, or FIGURE/POOLS/APP.
type query struct {
	figure string // empty: all figures, for the strategy of this plugin
	pools  []string
	app    string // empty: all apps
}

// ofPeople are the figures that count people or seats, by their names. Those of several apps add up.
var ofPeople = map[string]func(*joined) int{
	"busy":     func(j *joined) int { return j.Busy },
	"idle":     func(j *joined) int { return j.idle },
	"starting": func(j *joined) int { return j.starting },
	"queued":   func(j *joined) int { return j.Queued },
	"blocked":  func(j *joined) int { return j.Blocked },
	"warm":     func(j *joined) int { return j.Warm },
}

const (
	arrivalsFigure = "arrivals" // a second, in the last ten minutes
	lengthFigure   = "length"   // of a session on average, in seconds; 0 before one ended
)

func parseQuery(text string) (q query, err error) {
	parts := strings.SplitN(text, "/", 3)
	names := parts[0]
	if len(parts) > 1 {
		q.figure, names = strings.TrimSpace(parts[0]), parts[1]
		if ofPeople[q.figure] == nil && q.figure != arrivalsFigure && q.figure != lengthFigure {
			return q, fmt.Errorf("there is no figure %q; there are %s, %s and %s", q.figure,
				strings.Join(slices.Sorted(maps.Keys(ofPeople)), ", "), arrivalsFigure, lengthFigure)
		}
	}
	if len(parts) > 2 {
		if q.app = strings.TrimSpace(parts[2]); q.app == "" {
			return q, fmt.Errorf("the query %q ends before the app", text)
		}
	}
	if q.pools = poolsOf(names); len(q.pools) == 0 {
		return q, errors.New("the query must name node pools, such as stream-cpu,all")
	}
	return q, nil
}

// one is one number, of now.
func (q query) one(answers []wire.Demand, at time.Time) (sdk.TimestampedMetrics, error) {
	apps, err := together(answers, q.pools)
	if err != nil {
		return nil, err
	}
	if q.app != "" {
		one := apps[q.app]
		if one == nil {
			return nil, fmt.Errorf("no brain knows an app %q in the pools %s", q.app, strings.Join(q.pools, ","))
		}
		apps = map[string]*joined{q.app: one}
	}
	value, played, ended := 0., 0., 0.
	for _, j := range apps {
		switch q.figure {
		case arrivalsFigure:
			value += perSecond(j.app().Arrivals)
		case lengthFigure:
			played, ended = played+j.Played.Seconds(), ended+j.Ended
		default:
			value += float64(ofPeople[q.figure](j))
		}
	}
	if ended > 0 {
		value = played / ended
	}
	return sdk.TimestampedMetrics{{Timestamp: at, Value: value}}, nil
}

// perSecond is the rate of the longest window.
func perSecond(windows []sizing.Window) float64 {
	if len(windows) == 0 {
		return 0
	}
	last := windows[len(windows)-1]
	return float64(last.Count) / last.Over.Seconds()
}
