// Capacity replays days, and says what the people feel and what the nodes cost: with the strategy
// of nomad-autoscaler-seats, and with the fixed headroom that the autoscaler's job had before. It
// prints one JSON object per line:
//
//	{"measure":"waited","unit":"share","value":0.01,"day":"weekday","who":"people"}
//
// Measures, each with the labels day and who (people: the strategy; headroom: 30 % of the seats
// free; schedule: the strategy, and an operator who knows the launch; floor: nodes that are ready at once
// and end when they are empty, which is the least where no session is ended):
//
//	waited        share of the people who waited for a node
//	wait       s  how long those waited who did
//	node_hours h  from the request for a node to its end
//	cost      USD of these, by -price
//	nodes         the most at once
//	people        who came
//
// and for each day waits and node_hours of the strategy as a share of the headroom's.
//
// The replay is in simulated time. It drives the real strategy (package autoscaler) with answers of
// brains as the APM joins them, each 15 simulated seconds. Nodes, Auto Scaling with its hooks (a node counts
// from its request, and takes people after -ready; one that the cloud takes back ends two minutes after the notice), and
// where seats are placed (on the fullest node that has room) are a model, and so is the headroom's
// strategy, target-value. It does not run Nomad, nomad-autoscaler or the brain.
//
// -svg FILE draws the days. It is a benchmark and not a test: nothing fails for being slow or dear.
package main

import (
	"embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/nearcast/nearcast/bench/report"
)

//go:embed days/*.csv
var days embed.FS

func main() {
	s := site{seats: 8, ready: 4 * time.Minute, length: 25 * time.Minute, price: 0.357, max: 60, seed: 1}
	flag.IntVar(&s.seats, "seats", s.seats, "seats that a node carries")
	flag.DurationVar(&s.ready, "ready", s.ready, "from the request for a node until it takes people")
	flag.DurationVar(&s.length, "length", s.length, "mean length of sessions; their logarithms are normal, with a deviation of 1")
	flag.Float64Var(&s.price, "price", s.price, "price of a node's hour in USD; by default that of docs/COST.md")
	flag.StringVar(&s.wait, "wait", "1%", "share of the people that may wait")
	flag.StringVar(&s.hold, "hold", "5m", "nodes are removed that were not needed for so long")
	flag.Uint64Var(&s.seed, "seed", s.seed, "of the random numbers; the same number gives the same day")
	svg := flag.String("svg", "", "file for a picture of the days")
	only := flag.String("only", "", "one of weekday, launch, spot")
	flag.Parse()
	if err := run(s, *only, *svg); err != nil {
		fmt.Fprintln(os.Stderr, "bench-capacity:", err)
		os.Exit(1)
	}
}

// launchSchedule is what an operator who expects the launch writes down.
const launchSchedule = "0 17 * * * 1h 160"

func run(s site, only, svg string) error {
	if s.seats < 1 || s.ready <= 0 || s.length <= 0 {
		return errors.New("-seats, -ready and -length must be above 0")
	}
	out := report.New(os.Stdout)
	var pictures []picture
	for _, name := range []string{"weekday", "launch", "spot"} {
		if only != "" && only != name {
			continue
		}
		d, err := readDay(name)
		if err != nil {
			return err
		}
		before := replay(s, d, newHeadroom())
		follows := replay(s, d, newPeople(s, ""))
		atOnce := s
		atOnce.ready = 0
		least := replay(atOnce, d, floor{})
		err = errors.Join(least.report(out, s, name, "floor"), before.report(out, s, name, "headroom"), follows.report(out, s, name, "people"),
			out.Value("waits_of_headroom", "share", ratio(float64(len(follows.waits)), float64(len(before.waits))), map[string]any{"day": name}),
			out.Value("node_hours_of_headroom", "share", ratio(follows.hours, before.hours), map[string]any{"day": name}))
		pictures = append(pictures, picture{name, before, follows})
		if name == "launch" {
			known := replay(s, d, newPeople(s, launchSchedule))
			err = errors.Join(err, known.report(out, s, name, "schedule"))
			pictures = append(pictures, picture{name + ", with a schedule", before, known})
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if len(pictures) == 0 {
		return fmt.Errorf("there is no day %q", only)
	}
	if svg == "" {
		return nil
	}
	if err := os.WriteFile(svg, []byte(draw(s, pictures)), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (r result) report(out *report.Report, s site, day, who string) error {
	if r.failed != nil {
		return fmt.Errorf("replay %s: %w", day, r.failed)
	}
	labels := map[string]any{"day": day, "who": who}
	return errors.Join(
		out.Value("people", "", float64(r.people), labels),
		out.Value("waited", "share", ratio(float64(len(r.waits)), float64(r.people)), labels),
		out.Line("wait", "s", r.waits, labels),
		out.Value("node_hours", "h", r.hours, labels),
		out.Value("cost", "USD", r.hours*s.price, labels),
		out.Value("nodes", "", float64(r.most), labels))
}
