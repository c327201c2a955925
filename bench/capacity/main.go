// Capacity replays days, and says what the people feel and what the nodes cost: with the strategy
// of nomad-autoscaler-seats, and with the fixed headroom that the autoscaler's job had before. It
// prints one JSON object per line:
//
//	{"measure":"waited","unit":"share","value":0.01,"day":"weekday","who":"people"}
//
// Measures, each with the labels day and who (people: the strategy; headroom: 30 % of the seats
// free; schedule: the strategy, and an operator who knows the launch; floor: nodes that are ready at once
// and end when they are empty, each person on the fullest; longest, with -warm: the strategy, where people get the
// seat that is idle longest, and not one on the fullest node):
//
//	waited        share of the people who waited for a node
//	wait       s  how long those waited who did
//	node_hours h  from the request for a node to its end
//	cost      USD of these, by -price
//	nodes         the most at once
//	people        who came
//	ended         sessions that ended because the autoscaler removed their node: 0, and a test fails if not
//
// and for each day waits and node_hours of the strategy as a share of the headroom's.
//
// Without -real the replay is in simulated time. It drives the real strategy (package autoscaler) with answers of
// brains as the APM joins them, each 15 simulated seconds. Nodes, Auto Scaling with its hooks (a node counts
// from its request, and takes people after -ready; one that the cloud takes back ends two minutes after the notice), and
// where seats are placed (on the fullest node that has room) are a model, and so are idle seats (-warm, which start
// at once, and leave nodes that are to go) and the headroom's
// strategy, target-value.
//
// -seeds and -people replay several days, and larger ones. node_hours of "moved" is the least if sessions
// could be moved between nodes: it is below what any policy can reach that leaves them where they are.
//
// With -real it plays a part of each day with real servers, -factor times as fast, and both policies at
// once, each with its own pool and the same people:
//
//   - real: Consul; a Nomad server; nomad-autoscaler with its target aws-asg, and both policies, that of
//     jobs/platform/autoscaler.nomad.hcl and the one before it; the plugin, over mutual TLS; each node, a
//     Nomad client with its own data; each person's seat, an allocation that Nomad places or blocks; and the
//     programs by which nodes say that they are ready and drain themselves (provision/ready and drain).
//   - stand-ins: EC2 Auto Scaling with Pending:Wait and Terminating:Wait and the metadata service; the
//     brain, which tells the demand of simulated people and keeps no seat warm; the stream, which is "sleep".
//   - compressed by -factor: sessions, arrivals, the time to ready, all intervals, and the cloud's notice. What the
//     brain tells has the day's times. Not compressed: a Nomad client's own start (about 3 s, which are part
//     of the time to ready), the target's pause of 10 s after a request (left out, by retry_attempts = 1), and
//     the time after which the strategy takes seats that find no node for too large (never reached).
//   - other times: Nomad's own placement takes as long as it takes, and counts -factor times.
//
// It prints the same measures, and how long nodes took from request to ready ("ready", real seconds).
//
// -svg FILE draws the days. It is a benchmark and not a test: nothing fails for being slow or dear.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/bench/report"
)

//go:embed days/*.csv
var days embed.FS

func main() {
	s := usual()
	o := realOptions{before: 20 * time.Minute}
	flag.IntVar(&s.seats, "seats", 0, "seats that a node carries (default 8, with -real 4)")
	flag.DurationVar(&s.ready, "ready", s.ready, "from the request for a node until it takes people")
	flag.DurationVar(&s.length, "length", s.length, "mean length of sessions; their logarithms are normal, with a deviation of 1")
	flag.Float64Var(&s.price, "price", s.price, "price of a node's hour in USD; by default that of docs/COST.md")
	flag.StringVar(&s.wait, "wait", s.wait, "share of the people that may wait")
	flag.StringVar(&s.hold, "hold", s.hold, "nodes are removed that were not needed for so long")
	flag.Uint64Var(&s.seed, "seed", s.seed, "of the random numbers; the same number gives the same day")
	flag.Float64Var(&s.scale, "people", s.scale, "how many times as many people come as the day says; not with -real")
	flag.IntVar(&s.warm, "warm", 0, "idle seats that are kept; not with -real")
	seeds := flag.Int("seeds", 1, "days with this and the next seeds; not with -real")
	svg := flag.String("svg", "", "file for a picture of the days, of the first seed")
	only := flag.String("only", "", "one of weekday, launch, spot")
	useReal := flag.Bool("real", false, "with real Consul, Nomad, nomad-autoscaler and plugin: see above")
	flag.Float64Var(&o.factor, "factor", 48, "with -real: how much faster the day goes; a node needs about 4 s to start, so -ready by this must be more")
	flag.DurationVar(&o.lasts, "lasts", 225*time.Second, "with -real: how long each day is measured, in real time")
	flag.IntVar(&o.most, "most", 16, "with -real: how many people play at once, about, with each policy")
	flag.StringVar(&o.keep, "keep", "", "with -real: folder for the servers' logs and data, which is kept; each day has its own in it")
	flag.Usage = usage
	flag.Parse()
	if s.seats == 0 {
		s.seats = 8
		if *useReal {
			s.seats = 4
		}
	}
	err := s.check(*only, *seeds)
	switch {
	case err != nil:
	case *useReal && (*seeds != 1 || s.scale != 1 || s.warm != 0):
		err = errors.New("-seeds, -people and -warm are not for -real: see -seed and -most")
	case *useReal && os.Getuid() != 0:
		err = errors.New("-real needs root, for Nomad's raw_exec")
	case *useReal:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = runReal(ctx, s, o, *only, *svg)
	default:
		err = run(s, *seeds, *only, *svg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-capacity:", err)
		os.Exit(1)
	}
}

// usual is the site of docs/CAPACITY.md, but for the seats of a node.
func usual() site {
	return site{ready: 4 * time.Minute, length: 25 * time.Minute, price: 0.357, wait: "1%", hold: "5m", max: 600, seed: 1, scale: 1}
}

var names = []string{"weekday", "launch", "spot"}

func (s site) check(only string, seeds int) error {
	if _, err := time.ParseDuration(s.hold); err != nil {
		return fmt.Errorf("-hold %q: must be a duration such as 5m", s.hold)
	}
	switch {
	case s.seats < 1 || s.ready <= 0 || s.length <= 0 || !(s.scale > 0) || seeds < 1 || s.warm < 0:
		return errors.New("-seats, -ready, -length, -people and -seeds must be above 0, and -warm not below")
	case only != "" && !slices.Contains(names, only):
		return fmt.Errorf("there is no day %q; there are %s", only, strings.Join(names, ", "))
	}
	return nil
}

// launchSchedule is what an operator who expects the launch writes down.
const launchSchedule = "0 17 * * * 1h 160"

func run(s site, seeds int, only, svg string) error {
	out := report.New(os.Stdout)
	var pictures []picture
	err := eachDay(only, func(name string, d day) error {
		var waits, hours []float64
		var waited, waitedBefore float64
		for n := range seeds {
			one := s
			one.seed += uint64(n)
			drawn, err := one.runDay(out, name, d)
			if err != nil {
				return err
			}
			if n == 0 {
				pictures = append(pictures, drawn...)
			}
			b, f := drawn[0].before, drawn[0].follows
			waited, waitedBefore = waited+float64(len(f.waits)), waitedBefore+float64(len(b.waits))
			waits, hours = append(waits, ratio(float64(len(f.waits)), float64(len(b.waits)))), append(hours, ratio(f.hours, b.hours))
		}
		labels := map[string]any{"day": name, "seeds": seeds}
		err := errors.Join(out.Line("waits_of_headroom", "share", waits, labels), out.Line("node_hours_of_headroom", "share", hours, labels),
			out.Value("waits_of_headroom_in_all", "share", ratio(waited, waitedBefore), labels))
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return save(svg, s, pictures)
}

// eachDay does something with each day, or with the only one.
func eachDay(only string, do func(name string, d day) error) error {
	for _, name := range names {
		if only != "" && only != name {
			continue
		}
		d, err := readDay(name)
		if err == nil {
			err = do(name, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func save(svg string, s site, pictures []picture) error {
	if svg == "" {
		return nil
	}
	if err := os.WriteFile(svg, []byte(draw(s, pictures)), 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// runDay replays a day of one seed with all policies. The first picture is of the two that are compared.
func (s site) runDay(out *report.Report, name string, d day) (drawn []picture, err error) {
	before := replay(s, d, newHeadroom())
	follows := replay(s, d, newPeople(s, ""))
	atOnce := s
	atOnce.ready, atOnce.warm = 0, 0
	least := replay(atOnce, d, floor{})
	moved := s.moved(least)
	err = errors.Join(least.report(out, s, name, "floor"), before.report(out, s, name, "headroom"), follows.report(out, s, name, "people"),
		out.Value("node_hours", "h", moved, map[string]any{"day": name, "who": "moved", "seed": s.seed}))
	if s.warm > 0 {
		longest := s
		longest.longest = true
		err = errors.Join(err, replay(longest, d, newPeople(s, "")).report(out, s, name, "longest"))
	}
	drawn = append(drawn, picture{name: name, before: before, follows: follows, to: 24 * 60})
	if name == "launch" {
		known := replay(s, d, newPeople(s, launchSchedule))
		err = errors.Join(err, known.report(out, s, name, "schedule"))
		drawn = append(drawn, picture{name: name + ", with a schedule", before: before, follows: known, to: 24 * 60})
	}
	if err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return drawn, nil
}

// moved is the node-hours that carry the people of each moment of a day, where sessions could be moved.
func (s site) moved(r result) (hours float64) {
	for _, at := range r.points {
		hours += math.Ceil(float64(at.busy)/float64(s.seats)) / 60
	}
	return hours
}

// runReal plays the days with real servers.
func runReal(ctx context.Context, s site, o realOptions, only, svg string) error {
	switch {
	case !(o.factor >= 1) || o.lasts < 10*time.Second || o.most < 1:
		return errors.New("-factor and -most must be 1 or more, and -lasts 10s or more")
	case o.real(s.ready) < 4500*time.Millisecond:
		return fmt.Errorf("-ready %s is %s at -factor %g, and a Nomad client needs about 4 s to start: a smaller -factor", s.ready, o.real(s.ready), o.factor)
	}
	out := report.New(os.Stdout)
	var pictures []picture
	err := eachDay(only, func(name string, d day) error {
		results, ready, err := replayReal(ctx, s, name, d, o)
		if err != nil {
			return fmt.Errorf("replay %s: %w", name, err)
		}
		b, f := results["headroom"], results["people"]
		labels := map[string]any{"day": name, "factor": o.factor}
		err = errors.Join(b.report(out, s, name, "headroom"), f.report(out, s, name, "people"),
			out.Line("ready", "s", ready, labels),
			out.Value("waits_of_headroom", "share", ratio(float64(len(f.waits)), float64(len(b.waits))), labels),
			out.Value("node_hours_of_headroom", "share", ratio(f.hours, b.hours), labels))
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		pictures = append(pictures, picture{name: name + ", real", before: b, follows: f, from: int(windows[name]), to: int(windows[name] + o.day(o.lasts).Minutes())})
		return nil
	})
	if err != nil {
		return err
	}
	return save(svg, s, pictures)
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
	labels := map[string]any{"day": day, "who": who, "seed": s.seed}
	return errors.Join(
		out.Value("people", "", float64(r.people), labels),
		out.Value("waited", "share", ratio(float64(len(r.waits)), float64(r.people)), labels),
		out.Line("wait", "s", r.waits, labels),
		out.Value("node_hours", "h", r.hours, labels),
		out.Value("cost", "USD", r.hours*s.price, labels),
		out.Value("nodes", "", float64(r.most), labels),
		out.Value("ended", "", float64(r.ended), labels))
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `Replays days: who waits for a node, and what nodes cost, following people and with fixed headroom.

  bench-capacity                            in simulated time, a minute or less
  bench-capacity -seeds 6 -people 3         several days, with three times as many people
  bench-capacity -real -only launch         a part of the day with real servers, in 5 minutes

-real needs Linux, root (for Nomad's raw_exec), and consul, nomad and nomad-autoscaler: bin/nearcast dev tools
gets them. It runs about 16 Nomad clients on this machine, which need 2 idle CPUs and 4 GB of memory: see "ready", which
says how late nodes were. Without -only it takes 13 minutes. Nothing of it
listens on another address than 127.0.0.1, and all ends with it.

`)
	flag.PrintDefaults()
}
