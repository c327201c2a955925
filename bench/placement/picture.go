package main

import (
	"fmt"
	"math"
	"os"
	"strings"
)

// A picture of regret against probes, a panel a matrix: of each method, p50, p90
// and p99 as a line from the lowest to the highest, with a dot at p90.

const (
	panelWidth, panelHeight = 330.0, 330.0
	marginLeft, marginTop   = 44.0, 58.0
	legendHeight            = 52.0
	mostProbes              = 20
)

// series are the methods drawn, in the order of the legend.
var series = []struct {
	name, colour string
	joined       bool // a line through the dots
	of           func(*tally) bool
}{
	{"nearest of 4 beacons", "#8a8a8a", false, func(t *tally) bool { return t.method == "beacon" }},
	{"coordinates only", "#c98a1b", true, func(t *tally) bool { return t.method == "coordinates" }},
	{"adaptive, sites know coordinates", "#b0563f", true, func(t *tally) bool {
		return t.method == "adaptive" && t.labels["matrix"] == "vivaldi" && t.labels["at_once"] == "1"
	}},
	{"adaptive, sites have measured", "#1f77b4", true, func(t *tally) bool {
		return t.method == "adaptive" && t.labels["matrix"] == "measured" && t.labels["at_once"] == "1"
	}},
	{"adaptive + memory of 10 people", "#7b3fa0", false, func(t *tally) bool {
		return t.method == "memory" && t.labels["people"] == 10 && t.labels["probes"] == 4 && t.labels["after"] == 0
	}},
	{"the race (all sites)", "#2a8c4a", false, func(t *tally) bool {
		return t.method == "race" && t.labels["path"] == "http" && t.labels["browser"] == "chromium"
	}},
}

// picture draws what was tried at 20 sites.
func (b *bench) picture(path string) error {
	var panels []string
	for _, m := range b.data {
		var of []*tally
		for _, t := range b.tried {
			if t.data == m.name && t.sites == mostProbes {
				of = append(of, t)
			}
		}
		if len(of) > 0 {
			panels = append(panels, panel(m.name, of, float64(len(panels))*panelWidth))
		}
	}
	if len(panels) == 0 {
		return fmt.Errorf("draw %s: nothing was tried at %d sites", path, mostProbes)
	}
	width := panelWidth * float64(len(panels))
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="system-ui,sans-serif" font-size="11" fill="#333">`+"\n",
		width, panelHeight+legendHeight)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	out.WriteString(`<text x="44" y="20" font-size="14">Regret against probes, 20 sites: p50 to p99 of each method, dot at p90</text>` + "\n")
	for _, p := range panels {
		out.WriteString(p)
	}
	perRow := (len(series) + 1) / 2
	for i, s := range series {
		x := marginLeft + float64(i%perRow)*(width-marginLeft)/float64(perRow)
		y := panelHeight + 16 + float64(i/perRow)*18
		fmt.Fprintf(&out, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/><text x="%.1f" y="%.1f">%s</text>`+"\n", x, y-4, s.colour, x+9, y, s.name)
	}
	out.WriteString("</svg>\n")
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	return nil
}

func panel(name string, of []*tally, left float64) string {
	var out strings.Builder
	right, bottom := left+panelWidth-16, panelHeight-28
	x := func(probes float64) float64 { return left + marginLeft + probes/mostProbes*(right-left-marginLeft-6) }
	// A scale that has a zero and room for hundreds.
	y := func(ms float64) float64 {
		const top = 500
		return bottom - math.Asinh(ms)/math.Asinh(top)*(bottom-marginTop)
	}
	fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" font-weight="bold">%s</text>`+"\n", left+marginLeft, marginTop-14, escape(name))
	for _, ms := range []float64{0, 1, 3, 10, 30, 100, 300} {
		fmt.Fprintf(&out, `<path d="M%.1f %.1fH%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left+marginLeft, y(ms), right, left+marginLeft-5, y(ms)+4, ms)
	}
	for probes := 0; probes <= mostProbes; probes += 4 {
		fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" text-anchor="middle">%d</text>`+"\n", x(float64(probes)), bottom+15, probes)
	}
	fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" text-anchor="middle">sites measured, mean</text>`+"\n", (left+marginLeft+right)/2, bottom+28)
	fmt.Fprintf(&out, `<text x="%.1f" y="%.1f" text-anchor="end">ms</text>`+"\n", left+marginLeft-5, marginTop-14)
	for _, s := range series {
		var line []string
		for _, t := range of {
			if !s.of(t) {
				continue
			}
			at := x(t.asked())
			low, mid, high := t.quantile(0.5), t.quantile(0.9), t.quantile(0.99)
			fmt.Fprintf(&out, `<path d="M%.1f %.1fV%.1f" stroke="%s" stroke-width="2" opacity=".45"/><circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n",
				at, y(low), y(high), s.colour, at, y(mid), s.colour)
			line = append(line, fmt.Sprintf("%.1f %.1f", at, y(mid)))
		}
		if s.joined && len(line) > 1 {
			fmt.Fprintf(&out, `<path d="M%s" fill="none" stroke="%s"/>`+"\n", strings.Join(line, "L"), s.colour)
		}
	}
	return out.String()
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
