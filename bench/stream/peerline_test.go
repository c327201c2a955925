package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/netline"
)

const (
	wideLine, thinLine = 20_000_000, 2_000_000
	lineDelay          = 20 * time.Millisecond // one way
)

// onALine has the game stream over a line that becomes bad, is cut, and falls.
func (p *peers) onALine(who product) {
	good := netline.Way{Rate: wideLine, Delay: lineDelay}
	line := netline.New(p, good)
	s := who.play(p, showing{fps: 30, mbps: peerMbps, sound: true, film: p.films["game"], line: line})
	defer s.end()
	measure := func(length time.Duration) counted {
		return evaluate[counted](s, fmt.Sprintf(peerMeasure, length.Milliseconds()))
	}
	value := func(measure, unit string, value float64, more map[string]any) {
		labels := map[string]any{"product": who.name()}
		for name, v := range more {
			labels[name] = v
		}
		testkit.Must(p, p.report.Value(measure, unit, value, labels))
	}
	measure(5 * time.Second)

	calm := measure(12 * time.Second)
	value("concealed", "", calm.concealed(), map[string]any{"line": "good", "samples": calm.Samples})
	value("frozen", "s", calm.Frozen, map[string]any{"line": "good", "freezes": calm.Freezes, "fps": round(calm.Frames / calm.Seconds), "mbps": round(calm.mbps())})

	apart := evaluate[[]float64](s, peerSkew)
	if len(apart) > 0 {
		testkit.Must(p, p.report.Line("sound_after_picture", "ms", apart, map[string]any{"product": who.name(), "line": "good"}))
	}

	line.Set(netline.Way{Rate: wideLine, Delay: lineDelay, Spread: 40 * time.Millisecond})
	measure(3 * time.Second)
	jittery := measure(12 * time.Second)
	value("frozen", "s", jittery.Frozen, map[string]any{"line": "40 ms of jitter, reordered", "freezes": jittery.Freezes, "fps": round(jittery.Frames / jittery.Seconds), "mbps": round(jittery.mbps())})
	value("used", "", jittery.mbps()/calm.mbps(), map[string]any{"line": "40 ms of jitter, reordered", "of": "the good line's bitrate"})

	line.Set(netline.Way{Rate: wideLine, Delay: lineDelay, Jitter: 10 * time.Millisecond, Loss: 0.05})
	measure(3 * time.Second)
	lossy := measure(12 * time.Second)
	value("concealed", "", lossy.concealed(), map[string]any{"line": "5 % of loss", "samples": lossy.Samples})
	value("frozen", "s", lossy.Frozen, map[string]any{"line": "5 % of loss", "freezes": lossy.Freezes, "fps": round(lossy.Frames / lossy.Seconds), "mbps": round(lossy.mbps())})
	line.Set(good)
	measure(3 * time.Second)

	var cuts []float64
	for range 3 {
		line.Set(netline.Way{Cut: true})
		evaluate[any](s, "new Promise((r) => setTimeout(r, 2000))")
		line.Set(good)
		cuts = append(cuts, evaluate[float64](s, `new Promise((r) => {
			const begun = performance.now();
			document.querySelector('video').requestVideoFrameCallback(() => r(performance.now() - begun));
		})`))
		measure(2 * time.Second)
	}
	testkit.Must(p, p.report.Line("after_cut", "ms", cuts, map[string]any{"product": who.name()}))

	measure(5 * time.Second)
	before := measure(3 * time.Second).mbps()
	line.Begin()
	fell := time.Now()
	line.Set(netline.Way{Rate: thinLine, Delay: lineDelay})
	during := measure(8 * time.Second)
	packets, _ := line.Measured()
	longest, last := time.Duration(0), fell
	for _, w := range packets {
		longest = max(longest, w.Waited)
		if w.Waited > 100*time.Millisecond {
			last = w.At
		}
	}
	labels := map[string]any{"line": "20 to 2 Mbit/s", "frozen_s": round(during.Frozen), "mbps": round(during.mbps()), "concealed": round(during.concealed()),
		"dropped": slices.ContainsFunc(packets, func(w netline.Wait) bool { return w.Dropped })}
	value("queue_until", "s", last.Sub(fell).Seconds(), labels)
	value("queue_longest", "ms", float64(longest.Milliseconds()), nil)

	line.Set(good)
	back := time.Now()
	const patience = 20 * time.Second
	for measure(500*time.Millisecond).mbps() < 0.8*before && time.Since(back) < patience {
	}
	value("back", "s", time.Since(back).Seconds(), map[string]any{"before_mbps": round(before), "gave_up": time.Since(back) >= patience})
}
