package main

import (
	"maps"
	"testing"
)

// A picture that came after the first frame was counted is another one.
func TestLaterPicture(t *testing.T) {
	for name, c := range map[string]struct{ steps, want map[string]float64 }{
		"the first":   {map[string]float64{"received": 90, "decoding": 3, "presented": 99, "firstFrame": 100}, map[string]float64{"received": 90, "decoding": 3, "presented": 99, "firstFrame": 100}},
		"a later one": {map[string]float64{"received": 101, "decoding": 3, "presented": 110, "drawn": 112, "firstFrame": 100}, map[string]float64{"drawn": 112, "firstFrame": 100}},
		"not told":    {map[string]float64{"firstFrame": 100}, map[string]float64{"firstFrame": 100}},
	} {
		if dropLater(c.steps); !maps.Equal(c.steps, c.want) {
			t.Errorf("%s: %v", name, c.steps)
		}
	}
}
