package main

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
)

// report writes measures as JSON lines: {"measure", "unit", "n", "p50", "p90",
// "p99"} and labels beside them.
type report struct{ out *json.Encoder }

func newReport(w io.Writer) report { return report{json.NewEncoder(w)} }

// line writes the distribution of samples; none write nothing.
func (r report) line(measure, unit string, samples []float64, labels ...map[string]any) error {
	if len(samples) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(samples))
	row := map[string]any{
		"measure": measure, "unit": unit, "n": len(sorted),
		"p50": round(quantile(sorted, 0.5)), "p90": round(quantile(sorted, 0.9)), "p99": round(quantile(sorted, 0.99)),
	}
	for _, l := range labels {
		maps.Copy(row, l)
	}
	return r.out.Encode(row)
}

// rates writes a distribution of which more is better: p90 is what nine of ten
// samples reach, p99 what 99 of 100 do.
func (r report) rates(measure, unit string, samples []float64, labels ...map[string]any) error {
	negative := make([]float64, len(samples))
	for i, v := range samples {
		negative[i] = -v
	}
	if len(samples) == 0 {
		return nil
	}
	slices.Sort(negative)
	row := map[string]any{
		"measure": measure, "unit": unit, "n": len(samples),
		"p50": round(-quantile(negative, 0.5)), "p90": round(-quantile(negative, 0.9)), "p99": round(-quantile(negative, 0.99)),
	}
	for _, l := range labels {
		maps.Copy(row, l)
	}
	return r.out.Encode(row)
}

// value writes a measure that is one number.
func (r report) value(measure, unit string, v float64, labels ...map[string]any) error {
	row := map[string]any{"measure": measure, "unit": unit, "n": 1, "value": round(v)}
	for _, l := range labels {
		maps.Copy(row, l)
	}
	return r.out.Encode(row)
}

// quantile is the nearest-rank quantile of sorted samples, 0 < q ≤ 1.
func quantile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
