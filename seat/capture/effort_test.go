package capture

import (
	"fmt"
	"testing"
	"time"
)

// played is a node and its app, for a simulation.
type played struct {
	processors float64
	slow       float64                        // how much slower it encodes than an ordinary node
	app        func(at time.Duration) float64 // processors that all else wants
	moves      func(at time.Duration) bool    // the picture changes in full
	asks       time.Duration                  // when the browser asks for a keyframe
	pixels     int                            // 0 is 1280x720
	fps        int                            // 0 is 30
	start      float64                        // processors left at the start
	wrong      float64                        // how much longer veryfast takes than it should; 0 is 1
}

// play runs the effort of a stream for a time, and returns what it changed.
func (n played) play(length time.Duration) (e *effort, changes []string) {
	fps, pixels := max(n.fps, 0), n.pixels
	if fps == 0 {
		fps = 30
	}
	if pixels == 0 {
		pixels = usualPixels
	}
	zero := time.Now()
	e = newEffort(zero, fps, pixels, n.start)
	interval := time.Second / time.Duration(fps)
	var used, looked time.Duration // of processors by the encoder
	var left float64
	for at := time.Duration(0); at < length; at += interval {
		now := zero.Add(at)
		before := e.preset
		if n.asks > at-interval && n.asks <= at && n.asks > 0 {
			e.keyframe(now)
		}
		took := time.Duration(n.slow * float64(before.takes()) * float64(pixels) / usualPixels)
		if before == veryfast && n.wrong > 0 {
			took = time.Duration(n.wrong * float64(took))
		}
		moves := n.moves == nil || n.moves(at)
		if !moves {
			took /= 4
		}
		wants := n.app(at) + float64(took)/float64(interval)
		used += took
		left += max(n.processors-wants, 0) * interval.Seconds()
		if wants > n.processors { // it waits for a processor
			took = time.Duration(float64(took) * (1 + 4*(wants-n.processors)))
		}
		e.picture(now, took, moves, e.preset)
		if at-looked >= lookEvery {
			e.look(now, left/(at-looked).Seconds())
			looked, left, used = at, 0, 0
		}
		if e.preset != before {
			changes = append(changes, fmt.Sprintf("%.1fs %v (%s)", at.Seconds(), e.preset, e.why))
		}
	}
	return e, changes
}

func always(processors float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return processors }
}

func TestEffortFollowsTheNode(t *testing.T) {
	between := func(from, to int, inside, outside float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if at >= time.Duration(from)*time.Second && at < time.Duration(to)*time.Second {
				return inside
			}
			return outside
		}
	}
	for name, c := range map[string]struct {
		node        played
		length      int // seconds
		want        preset
		mostChanges int
	}{
		"a free node":                        {played{processors: 4, slow: 1, app: always(0.5), start: 3.5}, 60, superfast, 0},
		"a free node, which did not say so":  {played{processors: 4, slow: 1, app: always(0.5), start: 0}, 60, superfast, 1},
		"a node that is twice as fast, 60":   {played{processors: 4, slow: 0.5, app: always(0.5), start: 3, fps: 60}, 60, superfast, 2},
		"a node that is twice as fast":       {played{processors: 4, slow: 0.5, app: always(0.5), start: 3.5}, 60, veryfast, 1},
		"a node that is four times as slow":  {played{processors: 4, slow: 4, app: always(0.5), start: 3.5}, 60, ultrafast, 3},
		"a large picture":                    {played{processors: 8, slow: 1, app: always(1), start: 7, pixels: 3840 * 2160}, 60, ultrafast, 0},
		"an app that takes all":              {played{processors: 2, slow: 1, app: always(2), start: 2}, 60, ultrafast, 3},
		"a node that becomes busy":           {played{processors: 2, slow: 1, app: between(20, 1000, 2, 0.5), start: 1.5}, 60, ultrafast, 3},
		"a node that is busy for 20 seconds": {played{processors: 2, slow: 1, app: between(20, 40, 2, 0.5), start: 1.5}, 120, superfast, 6},
		"little is left, for 20 minutes":     {played{processors: 2, slow: 1, app: always(1.5), start: 0.5}, 1200, superfast, 1},
		"less is left, for 20 minutes":       {played{processors: 2, slow: 1, app: always(1.75), start: 0.5}, 1200, ultrafast, 2},
		"veryfast takes four times as long":  {played{processors: 4, slow: 0.5, app: always(0.5), start: 3, wrong: 4}, 1200, superfast, 24},
		"a still picture of a free node":     {played{processors: 4, slow: 1, app: always(0.5), moves: func(time.Duration) bool { return false }}, 60, ultrafast, 0},
		"a still picture, and a keyframe": {played{processors: 4, slow: 1, app: always(0.5), moves: func(time.Duration) bool { return false },
			asks: 10 * time.Second}, 60, superfast, 1},
	} {
		t.Run(name, func(t *testing.T) {
			e, changes := c.node.play(time.Duration(c.length) * time.Second)
			t.Logf("%v %q", e.preset, changes)
			if e.preset != c.want || len(changes) > c.mostChanges {
				t.Errorf("it ends at %v after %d changes, want %v after at most %d", e.preset, len(changes), c.want, c.mostChanges)
			}
		})
	}
}
