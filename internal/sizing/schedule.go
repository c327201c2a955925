package sizing

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
)

// Schedule is when an operator knows better than measurements: windows with a least number
// of seats.
type Schedule []window

type window struct {
	text  string
	opens *cronexpr.Expression
	zone  *time.Location
	lasts time.Duration
	seats int
}

// maxWindows bounds a schedule.
const maxWindows = 100

// ParseSchedule reads windows that are separated by semicolons. Each has when it opens, as the five
// fields of cron (minute, hour, day of month, month, day of week), how long it is open, how many
// seats there are at least, and a time zone, by default UTC:
//
//	30 16 * * 1-5 6h30m 120 Europe/Berlin; 0 10 * * 6,0 14h 150 Europe/Berlin
func ParseSchedule(text string) (Schedule, error) {
	var s Schedule
	for _, one := range strings.Split(text, ";") {
		if one = strings.Join(strings.Fields(one), " "); one == "" {
			continue
		}
		w, err := parseWindow(one)
		if err != nil {
			return nil, fmt.Errorf("schedule %q: %w", one, err)
		}
		if s = append(s, w); len(s) > maxWindows {
			return nil, fmt.Errorf("a schedule has at most %d windows", maxWindows)
		}
	}
	return s, nil
}

func parseWindow(text string) (w window, err error) {
	fields := strings.Fields(text)
	if len(fields) != 7 && len(fields) != 8 {
		return w, fmt.Errorf("must have five fields of cron, a duration, a number of seats and perhaps a time zone, such as: 30 16 * * 1-5 6h30m 120 Europe/Berlin")
	}
	w = window{text: text, zone: time.UTC}
	if w.opens, err = cronexpr.Parse(strings.Join(fields[:5], " ")); err != nil {
		return w, fmt.Errorf("read when it opens: %w", err)
	}
	if w.lasts, err = time.ParseDuration(fields[5]); err != nil || w.lasts <= 0 || w.lasts > 7*24*time.Hour {
		return w, fmt.Errorf("it is open for %q: must be a duration of at most 168h, such as 6h30m", fields[5])
	}
	if w.seats, err = strconv.Atoi(fields[6]); err != nil || w.seats < 1 || w.seats > maxLoad {
		return w, fmt.Errorf("%q seats: must be a whole number of 1 or more", fields[6])
	}
	if len(fields) == 8 {
		if w.zone, err = time.LoadLocation(fields[7]); err != nil {
			return w, fmt.Errorf("the time zone %q is not known here", fields[7])
		}
	}
	return w, nil
}

// shift is more than any zone's clock is put on or back.
const shift = 3 * time.Hour

// open reports whether the window is open at some moment from at until ahead later. Openings are sought on a clock that is never
// put on or back: on the zone's own, cronexpr leaves out those in the hour that a day lacks, and with them the day.
func (w window) open(at time.Time, ahead time.Duration) bool {
	from, to := at.Add(-w.lasts), at.Add(ahead)
	for wall := w.opens.Next(onWall(from.In(w.zone)).Add(-shift)); !wall.IsZero() && !wall.After(onWall(to.In(w.zone)).Add(shift)); wall = w.opens.Next(wall) {
		if opened := w.moment(wall); opened.After(from) && !opened.After(to) {
			return true
		}
	}
	return false
}

// onWall is what a zone's clock shows, as a time of UTC.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// moment is when the zone's clock shows a time: the first time, where it does so twice, and as much after the change as that
// is within the time that the clock leaves out.
func (w window) moment(wall time.Time) time.Time {
	there := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), w.zone)
	_, before := there.Add(-shift).Zone()
	first := wall.Add(-time.Duration(before) * time.Second).In(w.zone)
	if !onWall(first).Equal(wall) && onWall(there).Equal(wall) {
		return there
	}
	return first
}

// seats is the largest number of seats of a window that is open, and the window.
func (s Schedule) seats(at time.Time, ahead time.Duration) (most int, text string) {
	for _, w := range s {
		if w.seats > most && w.open(at, ahead) {
			most, text = w.seats, w.text
		}
	}
	return most, text
}
