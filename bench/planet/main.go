// Planet measures where sessions are placed, and how soon a person sees their app, on a
// planet of real sites on this machine (package dev/planet). The person moves from place
// to place, and each session is in a new headless Chromium. Each site has a warm seat of
// the test app. It needs root, and prints one JSON object per line:
//
//	{"measure":"first_frame","unit":"ms","n":3,"p50":412,"p90":480,"max":480,"place":"tokyo"}
//
// A true RTT is the one that the WAN was set to.
//
// At each place (label place), from -runs sessions:
//
//	perfect          share  of sessions at the site with the least true RTT; labels site (the chosen), best
//	regret           ms     true RTT to the chosen site − true RTT to the best
//	predicted_rtt    ms     that the router ranked the chosen site by; labels site, source
//	true_rtt         ms     to the chosen site; label site
//	decision_time    ms     first probe → race decided; also in units of the best site's RTT
//	first_frame      ms     Play pressed → first decoded frame; also in units of the chosen site's RTT
//
// Over all places the same without the label place, and
//
//	rtt_error          ms   |predicted − true|
//	decision_trips     rtt  how many round trips the decision waits for, and
//	decision_work      ms   how long it takes besides: slope and intercept of the line, time over
//	                        RTT, through the fastest session of each place
//	first_frame_part   ms   each step on the way (label part), from the step before it
//	first_frame_trips  rtt  the same two numbers for each step, and for all steps
//	first_frame_work   ms   (part all)
//
// The loss of a site (-losses times): the person's site is cut off from all others
//
//	site_loss       ms   cut → picture of the app at another site; label part is all, or
//	                     noticed (until the page is sure) or moved (from then on)
//	loss_perfect    share of moves to the next best site
//
// Coordinates, at -minutes after the start of the planet (label minutes), over all pairs
// of sites as each site sees them. Label source is consul for its WAN coordinates, or
// router for GET /v1/sites?distances=all, which uses the routers' own measurements too:
//
//	coordinate_error    ms   |RTT − true|; also in % of the true RTT
//	coordinate_claim    ms   the error that the source states
//	coordinate_measured share of pairs whose RTT a router measured; source router
//
// And load, the machine's load average per core at each session. On a busy machine,
// times of the WAN's order are still right; those called work grow.
//
// It is a benchmark and not a test: it does not fail for slowness.
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

// measures are the values of -only.
var measures = []string{"places", "loss", "coordinates"}

// parse reads the flags, and writes usage to help.
func parse(args []string, help io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench-planet", flag.ContinueOnError)
	f.SetOutput(help)
	f.Usage = func() {
		fmt.Fprint(f.Output(), `bench-planet measures placement and first frames on a planet of sites on this
machine, as root, and prints JSON lines; bench/planet/main.go explains them. By
default it takes 12 minutes: the last look at coordinates is after 10. Flags:
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
	f.Func("sites", "`regions` with a site (default "+strings.Join(o.sites, ",")+")", list(&o.sites))
	f.Func("places", "`names` of the places where the person sits, in this order (default "+strings.Join(o.places, ",")+")", list(&o.places))
	minutes := f.String("minutes", "1,5,10", "`when` to look at coordinates, in minutes after the start")
	f.IntVar(&o.runs, "runs", 3, "sessions at each place")
	f.IntVar(&o.losses, "losses", 3, "how many times a site is lost")
	f.StringVar(&o.lose, "lose", "tokyo", "`place` whose site is lost")
	f.DurationVar(&o.look, "look", 2*time.Second, "how long the person looks at Play after the race is decided")
	f.DurationVar(&o.jitter, "jitter", 0, "mean jitter of the person's last mile, one way")
	f.StringVar(&o.bin, "bin", "bin", "`folder` of the binaries, as make build fills it")
	f.BoolVar(&o.verbose, "v", false, "show the log of the planet")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; --help lists the flags", f.Arg(0))
	}
	for _, name := range o.only {
		if !slices.Contains(measures, name) {
			return o, fmt.Errorf("-only: unknown measure %q; there are: %s", name, strings.Join(measures, ", "))
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
			return o, fmt.Errorf("-minutes: %q is not a number of minutes", m)
		}
		o.minutes = append(o.minutes, time.Duration(v*float64(time.Minute)))
	}
	slices.Sort(o.minutes)
	if o.runs < 1 || o.losses < 1 {
		return o, errors.New("-runs and -losses must be at least 1")
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

// bench is what each measure needs.
type bench struct {
	options
	planet *planet.Planet
	report *report.Report
	dir    string
	loads  []float64
}

// say writes to standard error what is done now: a benchmark takes minutes.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-planet: "+format+"\n", args...)
}
