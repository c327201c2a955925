// Package report writes what benchmarks measured, one JSON object per line:
//
//	r := report.New(os.Stdout)
//	err := r.Line("first_frame", "ms", samples, map[string]any{"place": "tokyo"})
//	// {"max":260,"measure":"first_frame","n":3,"p50":212,"p90":260,"place":"tokyo","unit":"ms"}
//	err = r.Value("perfect", "share", 0.96, nil)
//	// {"measure":"perfect","unit":"share","value":0.96}
//
// Numbers are rounded to three decimals.
package report

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
)

// Report may be used by several goroutines: each line is written whole.
type Report struct {
	mu  sync.Mutex
	out *json.Encoder
}

// New writes to w.
func New(w io.Writer) *Report { return &Report{out: json.NewEncoder(w)} }

// Line writes the distribution of samples: n, p50, p90 and max, with labels. Without
// samples it writes nothing.
func (r *Report) Line(measure, unit string, samples []float64, labels map[string]any) error {
	if len(samples) == 0 {
		return nil
	}
	return r.write(measure, unit, map[string]any{
		"n": len(samples), "p50": round(Quantile(samples, 0.5)), "p90": round(Quantile(samples, 0.9)), "max": round(slices.Max(samples)),
	}, labels)
}

// Value writes a measure that is one number, such as a share.
func (r *Report) Value(measure, unit string, value float64, labels map[string]any) error {
	return r.write(measure, unit, map[string]any{"value": round(value)}, labels)
}

func (r *Report) write(measure, unit string, row, labels map[string]any) error {
	row["measure"], row["unit"] = measure, unit
	maps.Copy(row, labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Encode(row)
}

// Quantile is the nearest-rank quantile of at least one sample; 0 < q ≤ 1.
func Quantile(samples []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
