package main

import (
	"fmt"
	"strings"
)

// picture is a day with both policies.
type picture struct {
	name            string
	before, follows result
	from, to        int // minutes of the day
}

const (
	left, top     = 60, 40
	wide, high    = 760, 170
	between       = 60
	fieldsOfImage = "#888888 #c03028 #2060b0"
)

// draw makes an SVG: of each day the people, and the seats of the nodes of both policies; below, who
// waits; and what it costs.
func draw(s site, pictures []picture) string {
	var b strings.Builder
	total := top + len(pictures)*(high+between)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", left+wide+20, total)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	colours := strings.Fields(fieldsOfImage)
	for i, text := range []string{"people who play", "seats of the nodes, 30 % headroom", "seats of the nodes, following people"} {
		fmt.Fprintf(&b, `<rect x="%d" y="8" width="12" height="12" fill="%s"/><text x="%d" y="18">%s</text>`+"\n", left+i*250, colours[i], left+i*250+18, text)
	}
	for i, p := range pictures {
		y := top + i*(high+between)
		most := 1
		for _, r := range []result{p.before, p.follows} {
			for _, at := range r.points {
				most = max(most, at.nodes*s.seats, at.busy+at.queued)
			}
		}
		scale := func(value int) float64 { return float64(y+high) - float64(value)*high/float64(most) }
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">%s</text>`+"\n", left, y+12, p.name)
		fmt.Fprintf(&b, `<text x="4" y="%d">%d</text><text x="4" y="%d">0</text>`+"\n", y+12, most, y+high)
		across := func(minute float64) float64 { return left + wide*minute/float64(p.to-p.from) }
		every := max(1, (p.to-p.from)/60/8)
		for hour := (p.from + 59) / 60; hour*60 <= p.to; hour += every {
			x := int(across(float64(hour*60 - p.from)))
			fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#dddddd"/><text x="%d" y="%d" text-anchor="middle" fill="#666666">%d:00</text>`+"\n", x, y+16, x, y+high, x, y+high+13, hour)
		}
		line := func(points []point, colour, more string, value func(point) int) {
			fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" %s points="`, colour, more)
			for m := 0; m < len(points); m += max(1, (p.to-p.from)/360) {
				fmt.Fprintf(&b, "%.1f,%.1f ", across(float64(m)), scale(value(points[m])))
			}
			b.WriteString(`"/>` + "\n")
		}
		seats := func(at point) int { return at.nodes * s.seats }
		line(p.follows.points, colours[0], `stroke-width="1.5"`, func(at point) int { return at.busy })
		line(p.before.points, colours[1], "", seats)
		line(p.follows.points, colours[2], `stroke-width="1.5"`, seats)
		// Who waits: a mark below the axis in each minute in which somebody does.
		for j, r := range []result{p.before, p.follows} {
			for m, at := range r.points {
				if at.queued > 0 {
					fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="1" height="4" fill="%s"/>`, across(float64(m)), y+high+18+j*6, colours[j+1])
				}
			}
		}
		fmt.Fprintf(&b, "\n"+`<text x="%d" y="%d" fill="%s">%d waited, %.0f node-hours, %.2f USD</text><text x="%d" y="%d" fill="%s">%d waited, %.0f node-hours, %.2f USD</text><text x="%d" y="%d" fill="#666666">marks: minutes in which somebody waits</text>`+"\n",
			left, y+high+42, colours[1], len(p.before.waits), p.before.hours, p.before.hours*s.price,
			left+250, y+high+42, colours[2], len(p.follows.waits), p.follows.hours, p.follows.hours*s.price, left+500, y+high+42)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
