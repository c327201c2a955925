// Placement measures how near a person is placed to their nearest site, how soon,
// and what a placement costs a router. It needs no cluster: people and sites are
// places of measured round-trip matrices. It prints one JSON object a line:
//
//	{"measure":"regret","unit":"ms","n":1800,"p50":0,"p90":0.1,"p99":19.7,"perfect":0.92,
//	 "data":"planetlab490","method":"adaptive","sites":20,"probes":8,…}
//
// Measures:
//
//	regret             ms   of the chosen site over the nearest, both as they are, without
//	                        jitter; perfect is the share within 0.5 ms, asked how many sites
//	                        were measured on average, probes how many at most
//	decision_time      ms   from the first probe to the decision
//	                   rtt  the same in round trips to the nearest site
//	doubted            share  of people whose claims are doubted; label claims
//	decisions_per_s    /s   placement.Ranker.Rank on one core; with allocations and bytes
//	advices_per_s      /s   probe.Model.Next on one core
//	launches_per_s     /s   POST /v1/sessions over loopback, 200 sites, tickets signed, the
//	                        load made by the same process; label measured: round trips sent
//	launch_time        ms   of those
//	processor_per_launch  µs  of the router and of the load generator, together
//
// Rates are of windows; their p90 is what nine of ten windows reach.
//
// Labels of regret: method is random, entry (the router that was reached: a
// random one, or by DNS, the nearest of four), beacon (the nearest of four),
// coordinates (Vivaldi fitted to so many probes), all (probe all, wait for all),
// race (all, decided by the page's rule), adaptive (package probe), memory (the
// same with package prefix). matrix is what routers know of the way between
// sites: measured, or vivaldi coordinates after some minutes of gossip. at_once
// is how many sites are measured in parallel, "3+2" three first and then two;
// waits is for which sites a round waits: all, or those that can still win, as the
// page does (race). path is how beacons are reached (http, https, http2 over TLS), and
// browser what is added to the network: none, or what Chromium takes to begin a
// connection, to compute a handshake and to tell the script.
//
// It is a benchmark and not a test: nothing fails for being slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bench is what every measure needs.
type bench struct {
	report report
	seed   uint64
	splits int
	people int
	sizes  []int
	span   time.Duration
	data   []*matrix
	tried  []*tally // for the picture
}

// measures in the order they are taken.
var measures = []struct {
	name string
	take func(*bench, context.Context) error
}{
	{"regret", (*bench).takeRegret},
	{"doubts", (*bench).takeDoubts},
	{"speed", (*bench).takeSpeed},
	{"launches", (*bench).takeLaunches},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench-placement:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	b := &bench{report: newReport(os.Stdout)}
	flags := flag.NewFlagSet("bench-placement", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), "usage: placement [flags] [matrix.csv or folder …]\n\n"+
			"Measures placement, as JSON lines on standard output. A matrix is a CSV of round\n"+
			"trips in ms, header id,<id…>, one row a source, empty = missing; from a folder,\n"+
			"all *_rtt_ms.csv[.gz] are taken. The same seed gives the same regrets.\n\n")
		flags.PrintDefaults()
	}
	only := flags.String("only", "", "take only these measures: `"+measureNames()+"`")
	flags.Uint64Var(&b.seed, "seed", 1, "of all chance")
	flags.IntVar(&b.splits, "splits", 30, "random splits into 20 sites and people; fewer of more sites")
	flags.IntVar(&b.people, "people", 60, "people a split, at most")
	flags.DurationVar(&b.span, "span", 3*time.Second, "how long each throughput is measured")
	sizes := flags.String("sites", "20,60,200", "numbers of sites")
	svg := flags.String("svg", "", "write a picture of regret against probes to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.splits < 1 || b.people < 1 {
		return errors.New("-splits and -people must be at least 1")
	}
	for _, field := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 4 || n > 1000 {
			return fmt.Errorf("-sites: %q is not a number of sites from 4 to 1000", field)
		}
		b.sizes = append(b.sizes, n)
	}
	for _, name := range strings.Split(*only, ",") {
		if name != "" && !strings.Contains(","+measureNames()+",", ","+name+",") {
			return fmt.Errorf("-only: there is no measure %q; there are %s", name, measureNames())
		}
	}
	if err := b.read(flags.Args()); err != nil {
		return err
	}
	for _, m := range measures {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), m.name) {
			continue
		}
		if err := m.take(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	if *svg != "" {
		return b.picture(*svg)
	}
	return nil
}

func measureNames() string {
	var names []string
	for _, m := range measures {
		names = append(names, m.name)
	}
	return strings.Join(names, ",")
}

// read reads the matrices named, those of folders included.
func (b *bench) read(paths []string) error {
	if len(paths) == 0 {
		return errors.New("name at least one matrix or folder of matrices")
	}
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return fmt.Errorf("find matrix: %w", err)
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*_rtt_ms.csv*")); err != nil {
				return err
			}
			if len(files) == 0 {
				return fmt.Errorf("find matrices: no *_rtt_ms.csv in %s", path)
			}
		}
		for _, file := range files {
			m, err := readMatrix(file)
			if err != nil {
				return err
			}
			b.data = append(b.data, m)
		}
	}
	return nil
}

func (b *bench) takeRegret(ctx context.Context) error {
	for _, m := range b.data {
		sizes := b.sizesOf(m)
		if len(sizes) == 0 {
			// Some measure is better than none: a third of the places.
			sizes = []int{max(2, len(m.rtt)/3)}
		}
		for _, n := range sizes {
			say("%s: %d sites, %d splits", m.name, n, b.seeds(n))
			start := time.Now()
			tried, err := b.regrets(ctx, m, n)
			if err != nil {
				return err
			}
			b.tried = append(b.tried, tried...)
			say("  %.1f s", time.Since(start).Seconds())
		}
	}
	return nil
}

// say tells on standard error what is being done: it takes minutes.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-placement: "+format+"\n", args...)
}
