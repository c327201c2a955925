package main

import (
	"fmt"
	"strconv"
	"strings"
)

// day is who comes when.
type day struct {
	minutes, rates []float64 // people a minute; straight lines between
	cuts           []cut
}

// cut is when the cloud takes back a share of the nodes.
type cut struct{ minute, share float64 }

func readDay(name string) (d day, err error) {
	text, err := days.ReadFile("days/" + name + ".csv")
	if err != nil {
		return d, fmt.Errorf("read day: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		if strings.HasPrefix(line, "#") || fields[0] == "minute" {
			continue
		}
		isCut := fields[0] == "interrupt"
		if isCut {
			fields = fields[1:]
		}
		if len(fields) != 2 {
			return d, fmt.Errorf("%s: cannot read %q", name, line)
		}
		a, err1 := strconv.ParseFloat(fields[0], 64)
		b, err2 := strconv.ParseFloat(fields[1], 64)
		if err1 != nil || err2 != nil || a < 0 || b < 0 {
			return d, fmt.Errorf("%s: cannot read %q", name, line)
		}
		if isCut {
			d.cuts = append(d.cuts, cut{a, b})
		} else {
			d.minutes, d.rates = append(d.minutes, a), append(d.rates, b)
		}
	}
	if len(d.minutes) < 2 {
		return d, fmt.Errorf("%s: no figures", name)
	}
	return d, nil
}

// rate is how many people come a minute.
func (d day) rate(minute float64) float64 {
	for i := 1; i < len(d.minutes); i++ {
		if minute < d.minutes[i] {
			part := (minute - d.minutes[i-1]) / (d.minutes[i] - d.minutes[i-1])
			return d.rates[i-1] + part*(d.rates[i]-d.rates[i-1])
		}
	}
	return d.rates[len(d.rates)-1]
}
