// Site measures a whole site at its largest: 10,000 seats on 625 nodes, a thousand people in
// a second, and what it does when its parts die. It prints one JSON object per line:
//
//	{"aim":"≤ 20","measure":"delay_p99","reached":true,"row":"changes","unit":"ms","value":4.1}
//
// Consul, brains, routers and all sockets are real. Two things are played by the benchmark
// itself, which speaks the real protocols: the nodes with their seats, and Nomad. People are
// goroutines that speak as pages do, each from an address and a network of their own
// (127.64.0.0 and above), so that the limits for networks count as they do outside. Seats have
// addresses below 127.32.0.0, one each. Nothing listens but on loopback.
//
// Rows, the values of -only; each starts the sites that it needs, and rows that can share one do:
//
//	changes     seats that change on all nodes: how many a second each of 3 brains follows, how old
//	            its view is, and what a change costs it
//	slope       what a change costs one brain at 100, 1,000 and 10,000 seats
//	rest        CPU of a brain while 10,000 seats stream and nobody comes; memory of brain and Consul
//	claims      people who come at rates from 100 to 10,000 a second, with 20 apps: granted, latency, CPU
//	apps        the same at one rate, with 1 and with 100 apps
//	plateau     ten times the people that one brain with a fifth of a processor can serve (needs root)
//	raft        Consul's writes for a session from its launch to the next idle seat
//	launchday   10,000 people in 10 s for 2,000 seats, through routers
//	brainkill   a brain dies that serves a third of 5,000 sessions and of 5,000 people who wait
//	faults      Consul's server killed and back, a node cut off and back, a node's clock 2 min ahead
//
// Each line has the label row, and where issue or documents name one, aim and reached. A
// benchmark does not fail for being slow; it fails if a session ever had two seats.
//
// How it is measured: a brain's view is seen from outside by asking it for a session
// (GET /v1/sessions/{id}), as routers do. CPU is what /proc says of the process. Latency
// counts from the moment when a person was due to come, so a benchmark that is late itself
// does not flatter. The two cores are shared by all: people and nodes cost as much as brains.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// brainMemory is GOMEMLIMIT of jobs/platform/brain.nomad.hcl.
const brainMemory = "330MiB"

// options are the flags.
type options struct {
	only   []string
	quick  bool
	seats  int
	dead   int
	brains int
	bin    string
}

// row is one row of the table.
type row struct {
	name string
	run  func(context.Context, *bench) error
}

// rows in the order in which they run.
var rows = []row{
	{"slope", slope}, {"changes", changes}, {"rest", rest}, {"raft", raft}, {"claims", claims}, {"faults", faults},
	{"apps", claimsByApps}, {"plateau", plateau}, {"launchday", launchDay}, {"brainkill", brainKill},
}

func names() (out []string) {
	for _, r := range rows {
		out = append(out, r.name)
	}
	return out
}

// parse reads the flags, and writes usage to help.
func parse(args []string, help io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench-site", flag.ContinueOnError)
	f.SetOutput(help)
	f.Usage = func() {
		fmt.Fprint(f.Output(), `bench-site measures a site of 10,000 seats on this machine, and prints JSON lines;
bench/site/main.go explains them. It takes ten minutes on two cores, -quick two
minutes with a tenth of the seats. Flags:
`)
		f.PrintDefaults()
	}
	f.Func("only", "take only these `rows`: "+strings.Join(names(), ","), func(s string) error { o.only = strings.Split(s, ","); return nil })
	f.BoolVar(&o.quick, "quick", false, "a tenth of the seats and people, and shorter, without slope and plateau unless -only names them; its figures are no figures of a site")
	f.IntVar(&o.seats, "seats", 10_000, "seats of the site")
	f.IntVar(&o.dead, "dead", 15_000, "children at Nomad that have served")
	f.IntVar(&o.brains, "brains", 3, "brains of the site")
	f.StringVar(&o.bin, "bin", "bin", "`folder` of the binaries, as make build fills it")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; --help lists the flags", f.Arg(0))
	}
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return o, fmt.Errorf("-only: unknown row %q; there are: %s", name, strings.Join(names(), ", "))
		}
	}
	if len(o.only) == 0 {
		o.only = slices.DeleteFunc(names(), func(name string) bool { return o.quick && (name == "slope" || name == "plateau") })
	}
	if o.quick {
		o.seats, o.dead = min(o.seats, 1000), min(o.dead, 1500)
	}
	if o.seats < 300 || o.brains < 2 || o.seats > 100_000 {
		return o, errors.New("-seats is from 300 to 100,000, and -brains 2 at least")
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-site:", err)
		os.Exit(1)
	}
}

// bench is what each row needs.
type bench struct {
	options
	sheet
	shared *site   // of the rows before, or nil
	cost20 float64 // of a claim with 20 apps at compareRate, 0 until it is measured
}

func run(ctx context.Context, o options, out io.Writer) error {
	// A row has as many people as seats, half of them with a socket at a seat, and a feed from
	// each node to each brain.
	if err := files(uint64(17*o.seats/10 + 2500)); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the benchmark's own garbage is to cost little
	bin, err := filepath.Abs(filepath.Join(o.bin, "nearcast"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("%w; make build makes it", err)
	}
	o.bin = bin
	b := &bench{options: o, sheet: newSheet(out)}
	defer func() { b.leave() }()
	began := time.Now()
	var failed []error
	for _, r := range rows {
		if !slices.Contains(o.only, r.name) {
			continue
		}
		say("%s", r.name)
		if err := r.run(ctx, b); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("measure %s: %w", r.name, context.Cause(ctx))
			}
			// The other rows are worth something all the same, on a site that is whole.
			say("measure %s: %v", r.name, err)
			failed = append(failed, fmt.Errorf("measure %s: %w", r.name, err))
			b.leave()
		}
	}
	say("%d aims missed in %s: %s", len(b.missed), time.Since(began).Round(time.Second), strings.Join(b.missed, ", "))
	return errors.Join(failed...)
}

// open starts a site for one row.
func (b *bench) open(ctx context.Context, p plan) (*site, error) {
	b.leave()
	return open(ctx, b.bin, p)
}

// share is the site of all seats, which rows that leave it as it was use one after the other.
func (b *bench) share(ctx context.Context) (*site, error) {
	if b.shared != nil {
		return b.shared, nil
	}
	s, err := open(ctx, b.bin, plan{brains: b.brains, routers: 1, apps: 20, seats: b.seats, dead: b.dead,
		lease: 200 * time.Millisecond, start: 300 * time.Millisecond})
	b.shared = s
	return s, err
}

// leave ends the shared site.
func (b *bench) leave() {
	if b.shared != nil {
		b.shared.close()
		b.shared = nil
	}
}

// finish ends a row's site, and says whether a session had two seats.
func (b *bench) finish(ctx context.Context, row string, s *site, err error) error {
	if err == nil {
		pause(ctx.Done(), closing) // a double claim shows a moment later
	}
	doubles, lost := s.seats.doubles(), s.seats.lost.Load()
	if s != b.shared {
		s.close()
	}
	if err != nil {
		return err
	}
	if err := b.atMost(row, "double_claims", "", float64(len(doubles)), 0, labels{"answers_lost": lost}); err != nil {
		return err
	}
	if len(doubles) > 0 {
		return fmt.Errorf("%d sessions had two seats: %s", len(doubles), doubles[0])
	}
	return nil
}

// of is full, or with -quick a part of it.
func (b *bench) of(full, quick time.Duration) time.Duration {
	if b.quick {
		return quick
	}
	return full
}

// rate is of for rates.
func (b *bench) rate(full, quick float64) float64 {
	if b.quick {
		return quick
	}
	return full
}
