package autoscaler

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/internal/sizing"
)

// Between an APM and a strategy, nomad-autoscaler carries numbers with times, and nothing
// else. So the figures of the apps travel in a fixed order, one a microsecond:
//
//	format, apps, then of each app: busy, queued, blocked, warm, seconds played, sessions
//	ended, windows, then of each window: seconds, arrivals
//
// Both ends are one program. The format is for an update in which one of them is older.
const format = 1

// series writes down the figures of apps.
func series(apps []sizing.App, at time.Time) sdk.TimestampedMetrics {
	values := []float64{format, float64(len(apps))}
	for _, a := range apps {
		values = append(values, float64(a.Busy), float64(a.Queued), float64(a.Blocked), float64(a.Warm),
			a.Played.Seconds(), a.Ended, float64(len(a.Arrivals)))
		for _, w := range a.Arrivals {
			values = append(values, w.Over.Seconds(), float64(w.Count))
		}
	}
	out := make(sdk.TimestampedMetrics, len(values))
	for i, value := range values {
		out[i] = sdk.TimestampedMetric{Timestamp: at.Add(time.Duration(i) * time.Microsecond), Value: value}
	}
	return out
}

// figures reads them. The autoscaler has sorted them by their times.
func figures(metrics sdk.TimestampedMetrics) (apps []sizing.App, err error) {
	at := 0
	next := func() float64 {
		if at >= len(metrics) || err != nil {
			err = fmt.Errorf("the answer ends after %d figures", len(metrics))
			return 0
		}
		at++
		return metrics[at-1].Value
	}
	count := func() int {
		n := next()
		if n < 0 || n > mostPeople || n != math.Trunc(n) {
			err = fmt.Errorf("%v is not a number of things", n)
			return 0
		}
		return int(n)
	}
	seconds := func() time.Duration {
		s := next()
		if !(s >= 0 && s <= mostPlayed.Seconds()) {
			err = fmt.Errorf("%v is not a number of seconds", s)
			return 0
		}
		return time.Duration(s * float64(time.Second))
	}
	if got := next(); err == nil && got != format {
		return nil, fmt.Errorf("the answer has format %v, not %d: the check's source is not this plugin, or of another release", got, format)
	}
	for left := count(); left > 0 && err == nil; left-- {
		a := sizing.App{Busy: count(), Queued: count(), Blocked: count(), Warm: count(), Played: seconds(), Ended: next()}
		for windows := count(); windows > 0 && err == nil; windows-- {
			a.Arrivals = append(a.Arrivals, sizing.Window{Over: seconds(), Count: count()})
		}
		apps = append(apps, a)
	}
	if err == nil && at != len(metrics) {
		err = fmt.Errorf("the answer has %d figures more than it should", len(metrics)-at)
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer of the source: %w", err)
	}
	return apps, nil
}
