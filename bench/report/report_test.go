package report

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var out strings.Builder
	r := New(&out)
	samples := make([]float64, 100)
	for i := range samples {
		samples[99-i] = float64(i + 1)
	}
	labels := map[string]any{"fps": 30}
	for _, err := range []error{
		r.Line("first_frame", "ms", samples, labels),
		r.Line("nothing", "ms", nil, nil),
		r.Line("one", "ms", []float64{2}, nil),
		r.Value("perfect", "share", 2.0/3, labels),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const want = `{"fps":30,"max":100,"measure":"first_frame","n":100,"p50":50,"p90":90,"unit":"ms"}
{"max":2,"measure":"one","n":1,"p50":2,"p90":2,"unit":"ms"}
{"fps":30,"measure":"perfect","unit":"share","value":0.667}
`
	if out.String() != want {
		t.Errorf("got %s want %s", out.String(), want)
	}
	if samples[0] != 100 || len(labels) != 1 {
		t.Error("the arguments are changed")
	}
}
