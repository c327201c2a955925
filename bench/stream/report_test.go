package main

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	samples := make([]float64, 100)
	for i := range samples {
		samples[99-i] = float64(i + 1)
	}
	if err := r.line("first_frame", "ms", samples, map[string]any{"fps": 30}); err != nil {
		t.Fatal(err)
	}
	if err := r.line("nothing", "ms", nil, nil); err != nil {
		t.Fatal(err)
	}
	const want = `{"fps":30,"max":100,"measure":"first_frame","n":100,"p50":50,"p90":90,"unit":"ms"}` + "\n"
	if out.String() != want {
		t.Errorf("got %s want %s", out.String(), want)
	}
}
