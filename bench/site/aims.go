package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"

	"github.com/nearcast/nearcast/bench/report"
)

// labels are what a line says beside its value.
type labels = map[string]any

// sheet takes what was measured.
type sheet struct {
	*report.Report
	missed []string // measures that did not reach their aims
}

func newSheet(out io.Writer) sheet { return sheet{Report: report.New(out)} }

// atMost writes a measure that is to be aim at most, atLeast one that is to be aim at least.
func (s *sheet) atMost(row, measure, unit string, value, aim float64, more labels) error {
	return s.line(row, measure, unit, value, fmt.Sprintf("≤ %g", aim), value <= aim, more)
}

func (s *sheet) atLeast(row, measure, unit string, value, aim float64, more labels) error {
	return s.line(row, measure, unit, value, fmt.Sprintf("≥ %g", aim), value >= aim, more)
}

func (s *sheet) line(row, measure, unit string, value float64, aim string, reached bool, more labels) error {
	all := labels{"row": row, "aim": aim, "reached": reached}
	maps.Copy(all, rounded(more))
	if !reached {
		s.missed = append(s.missed, row+" "+measure)
	}
	return s.Value(measure, unit, value, all)
}

// figure writes a measure without an aim.
func (s *sheet) figure(row, measure, unit string, value float64, more labels) error {
	all := labels{"row": row}
	maps.Copy(all, rounded(more))
	return s.Value(measure, unit, value, all)
}

// rounded rounds numbers to three decimals, as the values of a report are.
func rounded(more labels) labels {
	out := maps.Clone(more)
	for name, value := range out {
		if x, ok := value.(float64); ok {
			out[name] = math.Round(x*1000) / 1000
		}
	}
	return out
}

// quantile is 0 where there are no samples.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	return report.Quantile(samples, q)
}

// say writes to standard error what is done now.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-site: "+format+"\n", args...)
}
