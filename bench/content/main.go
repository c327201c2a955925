// Content measures how content gets to a node, beside s5cmd (github.com/peak/s5cmd, the
// version of dev/tools/s5cmd) on the same object store in the same run. It prints one JSON
// object per line:
//
//	{"measure":"fetch","n":3,"p50":1.9,"p90":2,"max":2,"shape":"3000x10KB","unit":"s","who":"nearcast"}
//	{"measure":"speed","shape":"3000x10KB","unit":"x s5cmd","value":1.05,"round":1}
//
// Measures, each with the label shape (number of objects x size):
//
//	fetch         s  from the start of a process that fetches all objects until they are where
//	                 they go; label who: nearcast or s5cmd
//	speed            s5cmd's time ÷ nearcast's, of each round: 1 or more is as fast or faster
//	speed_alone_durable  the same, with nearcast's time until all is on disk and in the cache too
//	speed_both_durable   the same, with s5cmd's time until all is on disk too (syncfs)
//	speed_both_checked   the same, with s5cmd's time until all was then read and summed up (CRC-32)
//	processor        s5cmd's processor time and the store's meanwhile ÷ nearcast's and the store's
//	first_seat    s  a node's first seat, with a store that is -rtt away; label by: its job names a
//	                 prefix, which each seat lists, or a manifest
//	second_seat   s  another seat of that node, whose content is in the cache
//	connections      that first_seat opened to the store
//
// Nearcast and s5cmd take turns, and change who is first each round. What nearcast fetches
// is verified when it is where it goes: then a seat starts, and the process writes it to the
// disk and the cache. s5cmd does neither. Before each run, all that is unwritten is written, and memory is
// written to (memory.go). Large objects have the checksum that the AWS CLI gives them. Without s5cmd a line on standard error says so, and
// nearcast is measured alone.
//
// The store is versitygw on loopback. It keeps connections, as stores do that are not for
// tests. -rtt is made by a proxy in this process: it delays
// the set-up of a connection by one round trip and each direction by half of one.
//
// It is a benchmark and not a test: it does not fail for slowness.
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
	"strings"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/dev/setup"
)

// shape is a set of objects.
type shape struct {
	name  string
	count int
	size  int64
	far   bool // from a store that is -rtt away, and without s5cmd
	large bool // only with -large, or named
}

var shapes = []shape{
	{name: "1x1GiB", count: 1, size: 1 << 30},
	{name: "60x10MiB", count: 60, size: 10 << 20},
	{name: "3000x10KB", count: 3000, size: 10_000},
	{name: "1x10GB", count: 1, size: 10_000_000_000, large: true},
	{name: "10000x10KB", count: 10_000, size: 10_000, far: true, large: true},
	{name: "100000x10KB", count: 100_000, size: 10_000, far: true},
}

type options struct {
	data   string
	only   string
	rounds int
	rtt    time.Duration
	large  bool
	// names is what the jobs of far stores name: prefix, manifest, or empty for both.
	names string
	// profile is a file for the processor profile of the last fetch of a seat.
	profile string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == fetchArg {
		os.Exit(fetchChild(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	var names []string
	for _, s := range shapes {
		names = append(names, s.name)
	}
	flag.StringVar(&o.data, "data", "", "keep the store's objects in this folder for the next run (default: a temporary one)")
	flag.StringVar(&o.only, "only", "", "shapes, separated by commas, of "+strings.Join(names, ", "))
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured")
	flag.DurationVar(&o.rtt, "rtt", 20*time.Millisecond, "round trip to the store for first_seat and second_seat")
	flag.StringVar(&o.names, "by", "", "for first_seat and second_seat: jobs that name a prefix, or a manifest (default: both)")
	flag.BoolVar(&o.large, "large", false, "also one object of 10 GB: takes 30 GB of disk")
	flag.StringVar(&o.profile, "profile", "", "write the processor profile of nearcast's last fetch to this file")
	flag.Parse()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-content:", err)
		os.Exit(1)
	}
}

func (o options) wanted() ([]shape, error) {
	if o.only == "" {
		return slices.DeleteFunc(slices.Clone(shapes), func(s shape) bool { return s.large && !o.large }), nil
	}
	var out []shape
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.IndexFunc(shapes, func(s shape) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown shape %q", name)
		}
		out = append(out, shapes[i])
	}
	return out, nil
}

func run(ctx context.Context, o options) (err error) {
	wanted, err := o.wanted()
	if err != nil {
		return err
	}
	if o.names != "" && o.names != "prefix" && o.names != "manifest" {
		return errors.New("-by is prefix or manifest")
	}
	if o.rounds < 1 || o.rtt < 0 {
		return errors.New("-rounds is at least 1, and -rtt is not negative")
	}
	tools, err := setup.Tools(ctx, "", os.Stderr, "versitygw")
	if err != nil {
		return err
	}
	peer := ""
	if found, err := setup.Tools(ctx, "", os.Stderr, "s5cmd"); err != nil {
		say("s5cmd is missing, so nearcast is measured alone: %v", err)
	} else {
		peer = found["s5cmd"]
	}
	dir, err := os.MkdirTemp("", "nccontent-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.data == "" {
		o.data = filepath.Join(dir, "store")
	}
	store, err := startStore(ctx, tools["versitygw"], o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	b := &bench{options: o, store: store, peer: peer, dir: dir, report: report.New(os.Stdout)}
	for _, s := range wanted {
		if err := store.fill(ctx, s); err != nil {
			return err
		}
		measure := b.beside
		if s.far {
			measure = b.far
		}
		if err := measure(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// say writes to standard error what is done now.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-content: "+format+"\n", args...)
}
