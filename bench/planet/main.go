// Planet measures where sessions go and how soon a person holds her app, on a
// planet of real sites on this machine (package dev): a person in a namespace
// of hers, with a fresh headless Chromium for each session, moves from place to
// place, and a warm seat of the test app waits at each site. It needs root, and
// prints one JSON object a line:
//
//	{"measure":"first_frame","unit":"ms","n":3,"p50":412,"p90":480,"max":480,"place":"tokyo"}
//
// Round trips that are called true are those that the WAN was told to make.
//
// At each place (label place), from -runs sessions:
//
//	perfect          share  of sessions at the site with the least true RTT; labels site (as chosen), best
//	regret           ms     true RTT to the chosen site − true RTT to the best
//	predicted_rtt    ms     that the router placed by; labels site, source
//	true_rtt         ms     to the site it chose; label site
//	decision_time    ms     first beacon asked → race decided; also in units of the best site's RTT
//	first_frame      ms     Play pressed → first decoded frame; also in units of the chosen site's RTT
//
// Over all places the same again without a place, and
//
//	rtt_error          ms   |predicted − true|
//	decision_trips     rtt  how many round trips the decision waits for, and
//	decision_work      ms   what it takes beside them: the line, time over RTT, through the
//	                        fastest session of each place
//	first_frame_part   ms   a step on the way (label part), from the step before it
//	first_frame_trips  rtt  the same two numbers for each step, and for all of it
//	first_frame_work   ms   (part all)
//
// A site lost (-losses times): the person's site is cut off from everybody
//
//	site_loss       ms   cut → picture of the app at another site; label part is all, or
//	                     noticed (until the page is sure) or moved (from there)
//	loss_perfect    share of moves to the next best site
//
// Coordinates, at -minutes after all sites knew each other (label minutes),
// over all pairs of sites as each site sees them (label source is consul for
// its WAN coordinates, router for what routers make of them and of their own
// measurements, GET /v1/sites?distances=all):
//
//	coordinate_error    ms   |RTT − true|; also in % of the true one
//	coordinate_claim    ms   how far off the source says that it may be
//	coordinate_measured share of pairs whose RTT a router measured; source router
//
// And load, the machine's load average over its cores, as sessions found it.
// Latencies in the order of the WAN's stand on a busy machine; what is called
// work grows with it.
//
// It is a benchmark and not a test: nothing fails for being slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/dev/planet"
	"github.com/nearcast/nearcast/dev/planet/wan"
)

// options are the flags.
type options struct {
	only    []string
	sites   []string
	places  []string
	minutes []time.Duration
	runs    int
	losses  int
	lose    string
	look    time.Duration
	jitter  time.Duration
	bin     string
	verbose bool
}

// measures that may be asked for.
var measures = []string{"places", "loss", "coordinates"}

// parse reads them, and writes what --help says to help.
func parse(args []string, help io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench-planet", flag.ContinueOnError)
	f.SetOutput(help)
	f.Usage = func() {
		fmt.Fprint(f.Output(), `bench-planet measures placement and first frames on a planet of sites on this
machine, as root, and prints JSON lines; bench/planet/main.go says what they mean.
By default it takes 12 minutes: coordinates need them. Flags:
`)
		f.PrintDefaults()
	}
	list := func(into *[]string) func(string) error {
		return func(s string) error { *into = strings.Split(s, ","); return nil }
	}
	o.sites = []string{"us-east-1", "eu-west-1", "ap-northeast-1", "ap-southeast-1", "sa-east-1"}
	o.places = []string{"frankfurt", "new-york", "san-francisco", "sao-paulo", "johannesburg", "mumbai", "tokyo", "sydney"}
	o.only = measures
	f.Func("only", "take only these measures: `places,loss,coordinates`", list(&o.only))
	f.Func("sites", "`regions` that have a site (default "+strings.Join(o.sites, ",")+")", list(&o.sites))
	f.Func("places", "`names` of where the person sits, one after the other (default "+strings.Join(o.places, ",")+")", list(&o.places))
	minutes := f.String("minutes", "1,5,10", "`when` to look at coordinates, after the start")
	f.IntVar(&o.runs, "runs", 3, "sessions at each place")
	f.IntVar(&o.losses, "losses", 3, "how often to lose a site")
	f.StringVar(&o.lose, "lose", "tokyo", "`place` whose site is lost")
	f.DurationVar(&o.look, "look", 2*time.Second, "how long she looks at Play once the race is decided")
	f.DurationVar(&o.jitter, "jitter", 0, "mean jitter of the person's last mile, one way")
	f.StringVar(&o.bin, "bin", "bin", "`folder` of the binaries, as make build fills it")
	f.BoolVar(&o.verbose, "v", false, "show what the planet says of itself")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("what is %q? flags only; --help lists them", f.Arg(0))
	}
	for _, name := range o.only {
		if !slices.Contains(measures, name) {
			return o, fmt.Errorf("-only: no measure %q; there are: %s", name, strings.Join(measures, ", "))
		}
	}
	for _, name := range append([]string{o.lose}, o.places...) {
		if !slices.Contains(planet.Places(), name) {
			return o, fmt.Errorf("no place %q; there are: %s", name, strings.Join(planet.Places(), ", "))
		}
	}
	for _, m := range strings.Split(*minutes, ",") {
		v, err := strconv.ParseFloat(m, 64)
		if err != nil || v < 0 {
			return o, fmt.Errorf("-minutes: %q is no number of minutes", m)
		}
		o.minutes = append(o.minutes, time.Duration(v*float64(time.Minute)))
	}
	slices.Sort(o.minutes)
	if o.runs < 1 || o.losses < 1 {
		return o, errors.New("-runs and -losses have to be 1 at least")
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err == nil {
		err = wan.Supported()
	}
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-planet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	b, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	began := time.Now()
	wants := func(name string) bool { return slices.Contains(o.only, name) }

	both, ctx := errgroup.WithContext(ctx)
	if wants("coordinates") {
		both.Go(func() error { return b.coordinates(ctx, began) })
	}
	both.Go(func() error {
		if !wants("places") && !wants("loss") {
			return nil
		}
		if err := b.seats(ctx); err != nil {
			return err
		}
		if wants("places") {
			if err := b.places(ctx); err != nil {
				return fmt.Errorf("measure places: %w", err)
			}
		}
		if wants("loss") {
			if err := b.loss(ctx); err != nil {
				return fmt.Errorf("measure the loss of a site: %w", err)
			}
		}
		return b.report.Line("load", "per core", b.loads, nil)
	})
	return both.Wait()
}

// bench is what every measure needs.
type bench struct {
	options
	planet *planet.Planet
	report *report.Report
	dir    string
	loads  []float64
}

// say tells on standard error what is being done: it takes minutes.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-planet: "+format+"\n", args...)
}
