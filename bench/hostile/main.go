// Hostile plays a hostile internet against a whole real site on this machine, and measures
// what an honest person feels meanwhile. It prints one JSON object per line:
//
//	{"load":"attack","measure":"granted","unit":"ms","n":20,"p50":61,"p90":70,"max":80}
//
// Measures, each with the label load: "burn" is the baseline, in which the attacker's CPU
// quota is used up by loops that reach nobody, "attack" is the attack with the same quota:
//
//	launched   ms  POST /v1/sessions → its answer
//	connected  ms  POST /v1/sessions → the WebSocket to the brain is open
//	granted    ms  POST /v1/sessions → a seat is granted, with idle seats
//	failed         honest launches that got no seat
//	cpu     cores  processors used in the mean, of the site's processes by name, and of the
//	               attacker; label process
//	rss        MB  highest resident memory of router and brain; label process
//
// and of the attack alone:
//
//	slower         median of granted: attack ÷ burn
//	attacker       what the attacker did; label what
//
// The attacker is a process of its own. It holds sockets that say nothing, babble, or
// trickle a byte at a time, and it launches as often as it is told, all from the addresses
// of one network (127.66.1.0/24), or with -networks from several. As root it runs in a
// cgroup with the stated CPU quota; else there is none, and a warning says so.
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
	"syscall"
	"time"

	"github.com/nearcast/nearcast/bench/report"
	"github.com/nearcast/nearcast/dev"
)

// options are the flags. The attacker's process gets them too.
type options struct {
	bin      string
	phase    time.Duration
	every    time.Duration
	quota    float64
	sockets  int
	launches int
	networks int

	attack     string // internal: what the attacker's process does, loadBurn or loadAttack
	router     string
	brain, app string
}

const (
	loadBurn   = "burn"
	loadAttack = "attack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the binaries, as make build fills it")
	flag.DurationVar(&o.phase, "for", 40*time.Second, "how long baseline and attack last, each")
	flag.DurationVar(&o.every, "every", 2*time.Second, "how often the honest person launches")
	flag.Float64Var(&o.quota, "quota", 0.5, "processors that the attacker may use")
	flag.IntVar(&o.sockets, "sockets", 5000, "sockets that the attacker holds: a third each idle, babbling and trickling")
	flag.IntVar(&o.launches, "launches", 2000, "launches a second by the attacker")
	flag.IntVar(&o.networks, "networks", 1, "networks (/24) that the attacker comes from, up to 200")
	flag.StringVar(&o.attack, "attack", "", "internal")
	flag.StringVar(&o.router, "router", "", "internal")
	flag.StringVar(&o.brain, "brain", "", "internal")
	flag.StringVar(&o.app, "app", "", "internal")
	flag.Parse()
	run := runSite
	if o.attack != "" {
		run = runAttacker
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench-hostile:", err)
		os.Exit(1)
	}
}

// bench is what the phases need.
type bench struct {
	options
	site   *dev.Cluster
	report *report.Report
}

func runSite(ctx context.Context, o options) (err error) {
	if o.networks < 1 || o.networks > 200 || o.quota <= 0 {
		return errors.New("-networks is from 1 to 200, and -quota above 0")
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nchostile-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // apps run as another user
		return err
	}
	ports, err := dev.FreePorts()
	if err != nil {
		return err
	}
	say("starting a site in %s", dir)
	start, cancel := context.WithTimeout(ctx, 15*time.Minute) // servers may have to be built
	defer cancel()
	b := &bench{options: o, report: report.New(os.Stdout)}
	if b.site, err = dev.Start(start, dev.Options{Dir: dir, Bin: o.bin, Apps: []string{}, Ports: ports, Log: os.Stderr}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.site.Close()) }()
	b.app, b.router = "bench-hostile", b.site.URL
	if _, err := b.site.RunJob(ctx, filepath.Join("e2e", "jobs", "testapp.nomad.hcl"), map[string]string{
		"name": b.app, "testapp": filepath.Join(o.bin, "testapp"), "warm": "5", "max": "8"}); err != nil {
		return err
	}
	if b.brain, err = b.findBrain(ctx); err != nil {
		return err
	}
	burn, err := b.under(ctx, loadBurn)
	if err != nil {
		return err
	}
	attack, err := b.under(ctx, loadAttack)
	if err != nil {
		return err
	}
	if len(burn) == 0 || len(attack) == 0 {
		return nil // "failed" says so
	}
	return b.report.Value("slower", "", report.Quantile(attack, 0.5)/report.Quantile(burn, 0.5), nil)
}

// findBrain launches once: where people are sent, the attacker goes too.
func (b *bench) findBrain(ctx context.Context) (string, error) {
	if err := b.site.WaitIdle(ctx, b.app); err != nil {
		return "", err
	}
	v, err := b.visit(ctx)
	if err != nil {
		return "", fmt.Errorf("launch once before the attack: %w", err)
	}
	return v.brain, nil
}

// say writes to standard error what is done now.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench-hostile: "+format+"\n", args...)
}
