// Sites measures what it costs a router to follow many sites, each with many apps whose
// capacity changes all the time. It prints one JSON object per line:
//
//	{"apps":100,"changes":3,"measure":"cpu","sites":200,"unit":"% of a core","value":6.1}
//
// Measures, of one real router process, after -warm and for -for:
//
//	cpu           % of a core, to follow the sites and to answer their routers (-askers)
//	rss           MB, resident at the end; rss_peak is the highest ever
//	received      kB/s that the router gets of other sites, by label from: routers or consul
//	questions     /s that the router asks about other sites, by label from
//	blocking      the most questions at Consul that waited for a change of another site at once
//	answered      /s that other sites' routers ask the router, and it answers
//	told          ms from a change of an app at each of the sites, all at the same moment,
//	              until the router places people by it
//
// The router's own site has a real Consul. The other sites are simulated by this process:
// their routers, each at a loopback address of its own and without TLS, answer as real
// ones do, and a proxy before the Consul answers what it is asked about other sites. They
// also ask the router, as two routers of each site do (-askers). Between the sites there is no
// delay: each round trip of a real one adds to told.
//
//	go run ./bench/sites -nearcast bin/nearcast
//
// It is a benchmark and not a test: it does not fail for slowness. With -nearcast the
// binary of an earlier release can be measured, too.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/bench/report"
)

// options are the flags.
type options struct {
	nearcast    string
	sites, apps int
	changes     int
	askers      int
	warm, span  time.Duration
	log         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.nearcast, "nearcast", "bin/nearcast", "the program whose router is measured")
	flag.IntVar(&o.sites, "sites", 200, "other sites")
	flag.IntVar(&o.apps, "apps", 100, "apps of each site")
	flag.IntVar(&o.changes, "changes", 3, "apps of each site whose capacity changes in a second")
	flag.IntVar(&o.askers, "askers", 2, "routers of each other site that ask the router; 0: to follow sites is all that it does")
	flag.DurationVar(&o.warm, "warm", 30*time.Second, "time before the measurement")
	flag.DurationVar(&o.span, "for", time.Minute, "how long CPU and bytes are measured")
	flag.StringVar(&o.log, "log", "", "file for the output of router and Consul")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.await(ctx); err != nil {
		return err
	}
	go w.change(ctx)
	go w.ask(ctx)
	fmt.Fprintf(os.Stderr, "the router knows all sites; measuring after %s, for %s\n", o.warm, o.span)
	if err := sleep(ctx, o.warm); err != nil {
		return err
	}
	before, err := w.read()
	if err != nil {
		return err
	}
	if err := sleep(ctx, o.span); err != nil {
		return err
	}
	after, err := w.read()
	if err != nil {
		return err
	}
	r := report.New(os.Stdout)
	label := func(more ...string) map[string]any {
		l := map[string]any{"sites": o.sites, "apps": o.apps, "changes": o.changes, "askers": o.askers}
		for i := 0; i+1 < len(more); i += 2 {
			l[more[i]] = more[i+1]
		}
		return l
	}
	seconds := after.at.Sub(before.at).Seconds()
	rate := func(of func(reading) int64) float64 { return float64(of(after)-of(before)) / seconds }
	for _, line := range []struct {
		measure, unit string
		value         float64
		more          []string
	}{
		{"cpu", "% of a core", 100 * (after.cpu - before.cpu).Seconds() / seconds, nil},
		{"rss", "MB", after.rss, nil},
		{"rss_peak", "MB", after.peak, nil},
		{"received", "kB/s", rate(func(r reading) int64 { return r.bytesRouters }) / 1000, []string{"from", "routers"}},
		{"received", "kB/s", rate(func(r reading) int64 { return r.bytesConsul }) / 1000, []string{"from", "consul"}},
		{"questions", "/s", rate(func(r reading) int64 { return r.asksRouters }), []string{"from", "routers"}},
		{"questions", "/s", rate(func(r reading) int64 { return r.asksConsul }), []string{"from", "consul"}},
		{"answered", "/s", rate(func(r reading) int64 { return r.answered }), nil},
		{"blocking", "questions", float64(w.blockingPeak.Load()), nil},
	} {
		if err := r.Value(line.measure, line.unit, line.value, label(line.more...)); err != nil {
			return err
		}
	}
	told, err := w.told(ctx)
	if err != nil {
		return err
	}
	return r.Line("told", "ms", told, label())
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
